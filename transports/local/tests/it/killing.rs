//! A process that is killed at any moment loses no message that was accepted and not handled.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::task::Poll;

use futures_executor::block_on;
use futures_util::future::join;
use longhaul_core::transport::{ReceiverOptions, Transport};
use longhaul_embedded::Database;
use longhaul_local::LocalBroker;

use crate::support::{child, child_directory, clock, id, order, sales, send, with_sales};

/// How many messages go in one batch.
const BATCH: u64 = 7;

fn open(directory: &Path) -> (Database, LocalBroker) {
    let database = Database::open(directory).expect("opens");
    let broker = LocalBroker::durable(database.clone(), Arc::new(clock())).expect("opens");
    (database, broker)
}

/// Sends numbers and handles them, saying what it does, until it is killed.
#[test]
fn child_that_sends_and_handles_until_it_is_killed() {
    let Some(directory) = child_directory() else {
        return;
    };
    let first: u64 = std::env::var("FIRST")
        .expect("is told where to begin")
        .parse()
        .expect("a number");
    let (_database, broker) = open(&directory);
    block_on(async {
        let (broker, mut receiver) = with_sales(broker).await;
        println!("open");
        let sending = async {
            for batch in 0.. {
                let numbers = (0..BATCH).map(|number| first + batch * BATCH + number);
                let numbers: Vec<u64> = numbers.collect();
                println!("sending {}", first + batch * BATCH + BATCH - 1);
                let batch: Vec<_> = numbers
                    .iter()
                    .map(|number| order(&number.to_string(), None))
                    .collect();
                for (number, result) in numbers.iter().zip(broker.dispatch(&batch).await) {
                    result.expect("is accepted");
                    println!("accepted {number}");
                }
            }
        };
        let handling = async {
            loop {
                let delivery = receiver.receive().await.expect("receives");
                let number = id(&delivery);
                println!("handled {number}");
                // Every third goes back once: it must not be lost on the way.
                let settlement = delivery.into_parts().1;
                if number.ends_with(['0', '3', '6', '9']) {
                    drop(settlement);
                    let again = receiver.receive().await.expect("receives");
                    again.into_parts().1.acknowledge().await.expect("acknowledges");
                } else {
                    settlement.acknowledge().await.expect("acknowledges");
                }
                // Slower than the sender, so that there is always a backlog.
                yield_now().await;
            }
        };
        join(sending, handling).await;
    });
}

/// Lets the sender go first.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What a run said before it was killed.
#[derive(Default)]
struct Said {
    sending: u64,
    accepted: BTreeSet<u64>,
    handled: BTreeSet<u64>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        // The harness may begin a line of ours.
        let mut words = line.rsplit(' ');
        let (Some(number), Some(word)) = (words.next().and_then(|word| word.parse().ok()), words.next())
        else {
            return;
        };
        match word {
            "sending" => self.sending = number,
            "accepted" => drop(self.accepted.insert(number)),
            "handled" => drop(self.handled.insert(number)),
            _ => {}
        }
    }
}

/// `LONGHAUL_KILLS` sets how many kills.
#[test]
fn when_the_process_is_killed_again_and_again_nothing_accepted_is_lost() {
    let kills: u64 = std::env::var("LONGHAUL_KILLS").map_or(20, |count| count.parse().expect("a number"));
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join("data");
    let (mut first, mut all) = (0, Said::default());
    for kill in 0..kills {
        let lines = 50 + kill * 7919 % 400;
        let mut running = child("killing::child_that_sends_and_handles_until_it_is_killed", &path);
        let mut running = running.env("FIRST", first.to_string()).spawn().expect("starts");
        let mut said = BufReader::new(running.stdout.take().expect("is piped")).lines();
        for _ in 0..lines {
            all.hear(&said.next().expect("goes on").expect("is text"));
        }
        running.kill().expect("is killed");
        running.wait().expect("ends");
        said.map_while(Result::ok).for_each(|line| all.hear(&line));
        first = all.sending + 1;
        check(&path, &all);
    }
    assert!(
        all.accepted.len() as u64 > kills * 5,
        "only {} messages",
        all.accepted.len()
    );
    assert!(
        all.handled.len() as u64 > kills,
        "only {} handled",
        all.handled.len()
    );
}

fn check(path: &Path, said: &Said) {
    let (database, broker) = open(path);
    let queued = broker.browse(&sales(), usize::MAX).expect("exists");
    let queued: Vec<u64> = queued
        .iter()
        .map(|seen| {
            String::from_utf8_lossy(seen.incoming.id.as_deref().expect("has an id"))
                .parse()
                .expect("a number")
        })
        .collect();
    assert!(
        queued.is_sorted_by(|a, b| a < b),
        "out of order, or twice: {queued:?}"
    );
    assert!(
        queued.iter().all(|number| *number <= said.sending),
        "a message that nobody sent"
    );
    let lost: Vec<&u64> = said
        .accepted
        .iter()
        .filter(|number| !said.handled.contains(number) && queued.binary_search(number).is_err())
        .collect();
    assert!(lost.is_empty(), "accepted, never handled, and gone: {lost:?}");
    drop(broker);
    database.close().expect("closes");
}

/// Receives one message, and ends at once.
#[test]
fn child_that_dies_of_its_message() {
    let Some(directory) = child_directory() else {
        return;
    };
    let (_database, broker) = open(&directory);
    block_on(async {
        if std::env::var_os("FIRST").is_some() {
            let (broker, _) = with_sales(broker.clone()).await;
            send(&broker, "poison", None).await;
        }
        let mut receiver = broker
            .receiver(&sales(), ReceiverOptions::default())
            .await
            .expect("opens");
        let delivery = receiver.receive().await.expect("receives");
        println!("redeliveries {}", delivery.redeliveries);
        std::process::abort();
    });
}

#[test]
fn when_a_message_ends_the_process_at_once_its_count_grows_all_the_same() {
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join("data");
    let mut counts = Vec::new();
    for life in 0..5 {
        let mut dying = child("killing::child_that_dies_of_its_message", &path);
        if life == 0 {
            dying.env("FIRST", "0");
        }
        let output = dying.stderr(Stdio::null()).output().expect("starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let count = said
            .split("redeliveries ")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        counts.push(count.unwrap_or_else(|| panic!("said {said:?}")).to_owned());
    }
    assert_eq!(counts, ["0", "0", "1", "2", "3"]);
}
