//! A process that is killed at any moment loses nothing that was acknowledged, and leaves nothing in part.

use std::{
    io::{BufRead, BufReader},
    path::Path,
};

use longhaul_embedded::{Batch, Database};

use crate::support::{child, child_directory, draws, everything};

/// How many keys one commit writes.
const KEYS: u64 = 3;
/// How many commits the child has in flight.
const IN_FLIGHT: u64 = 16;

/// Commits numbers from the first that is missing on, and prints each once it is acknowledged.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(directory) = child_directory() else {
        return;
    };
    let database = Database::open(directory).unwrap();
    println!("open");
    let mut next = database.count(&everything()).unwrap() as u64 / KEYS;
    let mut waiting = std::collections::VecDeque::new();
    loop {
        while (waiting.len() as u64) < IN_FLIGHT {
            waiting.push_back((next, database.commit(numbered(next))));
            next += 1;
        }
        if let Some((number, answer)) = waiting.pop_front() {
            answer.wait().unwrap();
            println!("acknowledged {number}");
        }
    }
}

/// All of its keys lie far apart. Some of its values are in pieces, and some batches are longer than a segment of the
/// engine.
fn numbered(number: u64) -> Batch {
    let bytes = match number {
        _ if number.is_multiple_of(97) => 300_000,
        _ if number.is_multiple_of(17) => 9_000,
        _ => 100,
    };
    let mut batch = Batch::new();
    for part in 0..KEYS {
        batch.put(
            format!("{part}/{number:010}"),
            vec![number.to_le_bytes()[0]; bytes],
        );
    }
    batch
}

/// `LONGHAUL_KILLS` sets how many kills. A database is killed thirty times, then the next takes its place.
#[test]
fn when_the_process_is_killed_again_and_again() {
    let kills = std::env::var("LONGHAUL_KILLS").map_or(30, |count| count.parse().unwrap());
    let parent = tempfile::tempdir().unwrap();
    let mut draw = draws(2_026);
    let (mut acknowledged, mut total) = (0, 0);
    for kill in 0..kills {
        if kill % 30 == 0 {
            (acknowledged, total) = (0, total + acknowledged);
        }
        let path = parent.path().join((kill / 30).to_string());
        let last = run_and_kill(&path, kill, &mut draw);
        acknowledged = check(&path, acknowledged.max(last.map_or(0, |last| last + 1)));
    }
    total += acknowledged;
    println!("{kills} kills, {total} commits");
    assert!(total > kills, "only {total} commits in {kills} runs");
}

/// Kills the child after it has said a number of lines that depends on the seed, some of them while it opens.
/// Returns the last number that it said was acknowledged, unread lines included.
fn run_and_kill(path: &Path, kill: u64, draw: &mut impl FnMut() -> u64) -> Option<u64> {
    let mut committing = child("killing::child_that_commits_until_it_is_killed", path)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(committing.stdout.take().unwrap()).lines();
    let lines = if kill % 5 == 4 {
        draw() % 3
    } else {
        3 + draw() % 150
    };
    let mut last = None;
    for _ in 0..lines {
        last = acknowledged_in(&said.next().unwrap().unwrap()).or(last);
    }
    for _ in 0..draw() % 20_000 {
        std::hint::spin_loop();
    }
    committing.kill().unwrap();
    committing.wait().unwrap();
    // The last line may be cut off; then it counts for nothing.
    said.map_while(Result::ok)
        .filter_map(|line| acknowledged_in(&line))
        .last()
        .or(last)
}

fn acknowledged_in(line: &str) -> Option<u64> {
    line.split_once("acknowledged ")?.1.parse().ok()
}

/// Every commit up to `acknowledged` is there, none is there in part, and there are no gaps. Returns how many.
fn check(path: &Path, acknowledged: u64) -> u64 {
    let database = Database::open(path).unwrap();
    let entries = database.scan(&everything()).unwrap();
    let found = entries.len() as u64 / KEYS;
    assert!(
        found >= acknowledged,
        "{acknowledged} acknowledged, {found} found"
    );
    for (index, (key, value)) in entries.iter().enumerate() {
        let (part, number) = (index as u64 / found, index as u64 % found);
        assert_eq!(*key, format!("{part}/{number:010}"), "torn or missing");
        assert!(value.iter().all(|byte| *byte == number.to_le_bytes()[0]));
    }
    found
}
