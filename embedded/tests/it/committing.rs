//! Commits, reads and limits on a healthy database.

use std::collections::BTreeMap;

use bytes::Bytes;
use longhaul_embedded::{Batch, Check, CommitErrorKind, Database, Options, Scan};

use crate::support::{draws, everything, put};

fn open(options: Options) -> (Database, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (
        Database::open_with(directory.path().join("data"), options).unwrap(),
        directory,
    )
}

#[test]
fn when_it_is_opened_again() {
    let (database, directory) = open(Options::new());
    let long = Bytes::from(vec![7; 300_000]);
    let mut batch = put("short", "value");
    batch.put("long", long.clone());
    batch.put("", "the empty key");
    batch.put("empty", "");
    database.commit(batch).wait().unwrap();
    let mut batch = Batch::new();
    batch.delete("short");
    batch.delete("never there");
    database.commit(batch).wait().unwrap();
    let before = database.scan(&Scan::all()).unwrap();
    drop(database);

    let again = Database::open(directory.path().join("data")).unwrap();
    assert_eq!(again.scan(&Scan::all()).unwrap(), before);
    assert_eq!(before.len(), 3);
    assert_eq!(again.get(b"long").unwrap().unwrap(), long);
    assert_eq!(again.get(b"").unwrap().unwrap(), "the empty key");
    assert_eq!(again.get(b"empty").unwrap().unwrap(), "");
    assert_eq!(again.get(b"short").unwrap(), None);
}

#[test]
fn when_values_are_around_the_size_of_a_piece() {
    let (database, directory) = open(Options::new());
    let sizes = [0, 1, 4_095, 4_096, 4_097, 8_191, 8_192, 8_193, 131_052, 1 << 20];
    for size in sizes {
        database
            .commit(put(size.to_string(), vec![9; size]))
            .wait()
            .unwrap();
    }
    // Each becomes shorter or longer than a piece.
    for size in sizes {
        database
            .commit(put(format!("again/{size}"), vec![9; size]))
            .wait()
            .unwrap();
        database
            .commit(put(format!("again/{size}"), vec![8; 8_192 - size.min(8_192)]))
            .wait()
            .unwrap();
    }
    database.close().unwrap();
    let again = Database::open(directory.path().join("data")).unwrap();
    for size in sizes {
        assert_eq!(
            again.get(size.to_string().as_bytes()).unwrap().unwrap(),
            vec![9; size]
        );
        let replaced = again.get(format!("again/{size}").as_bytes()).unwrap().unwrap();
        assert_eq!(replaced, vec![8; 8_192 - size.min(8_192)]);
    }
}

#[test]
fn when_long_values_fill_every_page_no_file_but_the_synced_one_is_written() {
    let (database, directory) = open(Options::new());
    let key = |number: u32| format!("{number:08}").repeat(Options::MAX_KEY_BYTES / 8);
    for round in 0..6_u8 {
        for number in 0..200 {
            drop(database.commit(put(key(number * 7_919 % 200), vec![round; 4_096])));
        }
    }
    database.commit(put("long", vec![1; 1 << 20])).wait().unwrap();
    for number in (0..200).step_by(3) {
        let mut batch = Batch::new();
        batch.delete(key(number));
        drop(database.commit(batch));
    }
    database.flush().wait().unwrap();
    assert_eq!(
        crate::support::names(&directory.path().join("data/blobs")),
        [""; 0]
    );
}

#[test]
fn when_each_kind_of_check_holds_or_not() {
    let (database, _directory) = open(Options::new());
    let long = vec![5; 10_000];
    let mut batch = put("there", "value");
    batch.put("long", long.clone());
    database.commit(batch).wait().unwrap();

    let cases = [
        (Check::Absent("gone".into()), true),
        (Check::Absent("there".into()), false),
        (Check::Present("there".into()), true),
        (Check::Present("gone".into()), false),
        (Check::Equals("there".into(), "value".into()), true),
        (Check::Equals("there".into(), "valu".into()), false),
        (Check::Equals("gone".into(), "".into()), false),
        (Check::Equals("long".into(), long.clone().into()), true),
        (
            Check::StartsWith("long".into(), long[..5_000].to_vec().into()),
            true,
        ),
        (Check::StartsWith("there".into(), "va".into()), true),
        (Check::StartsWith("there".into(), "values".into()), false),
        (Check::StartsWith("gone".into(), "".into()), false),
    ];
    for (check, holds) in cases {
        let mut batch = put("touched", format!("{check:?}").len().to_string());
        batch.check(check.clone());
        let outcome = database.commit(batch).wait();
        assert_eq!(outcome.is_ok(), holds, "{check:?}");
        if let Err(error) = outcome {
            assert_eq!(
                (error.kind(), error.key()),
                (CommitErrorKind::Conflict, Some(check.key()))
            );
        }
    }
}

#[test]
fn when_a_batch_writes_a_key_twice() {
    let (database, _directory) = open(Options::new());
    let mut batch = put("key", "first");
    batch.put("key", vec![1; 9_000]);
    batch.delete("key");
    batch.put("key", "last");
    batch.put("other", "x");
    batch.delete("other");
    // Checks see nothing of their own batch.
    batch.check(Check::Absent("key".into()));
    database.commit(batch).wait().unwrap();
    assert_eq!(
        database.scan(&Scan::all()).unwrap(),
        [("key".into(), "last".into())]
    );
}

#[test]
fn when_something_is_over_its_limit() {
    let (database, _directory) = open(Options::new().max_value_bytes(10_000).max_batch_bytes(30_000));
    let longest_key = vec![b'k'; Options::MAX_KEY_BYTES];
    let too_long_key = vec![b'k'; Options::MAX_KEY_BYTES + 1];
    let mut too_much = Batch::new();
    for key in ["1", "2", "3", "4"] {
        too_much.put(key, vec![0; 8_000]);
    }
    database.commit(put(longest_key, vec![0; 10_000])).wait().unwrap();
    for batch in [put("key", vec![0; 10_001]), put(too_long_key, ""), too_much] {
        let error = database.commit(batch.clone()).wait().unwrap_err();
        assert_eq!(error.kind(), CommitErrorKind::TooLarge);
        assert!(!error.is_retryable());
        assert_eq!(
            database.submit(batch).unwrap_err().kind(),
            CommitErrorKind::TooLarge
        );
    }
    assert_eq!(database.count(&everything()).unwrap(), 1);
}

#[test]
fn when_pages_are_read_one_after_another() {
    let (database, _directory) = open(Options::new());
    for number in 0..250_u32 {
        drop(database.commit(put(format!("a/{number:04}"), "")));
    }
    database.commit(put("b/0000", "")).wait().unwrap();
    let mut read = Vec::new();
    let mut page = Scan::prefix(b"a/").limit(100);
    loop {
        let entries = database.scan(&page).unwrap();
        let Some((last, _)) = entries.last() else {
            break;
        };
        page = page.after(last);
        read.extend(entries);
    }
    let keys: Vec<_> = read.into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        (0..250)
            .map(|number| format!("a/{number:04}"))
            .collect::<Vec<_>>()
    );
}

/// Keys of all lengths with long beginnings in common, so that pages split, merge and shorten their keys.
/// `LONGHAUL_ROUNDS` sets how many commits.
#[test]
fn when_entries_come_and_go_at_random() {
    let rounds = std::env::var("LONGHAUL_ROUNDS").map_or(400, |count| count.parse().unwrap());
    let (mut database, directory) = open(Options::new());
    let mut model = BTreeMap::new();
    let mut draw = draws(5);
    for round in 0..rounds {
        let mut batch = Batch::new();
        let (grow, writes) = (round / 100 % 2 == 0, draw() % 30);
        for _ in 0..writes {
            let key = drawn_key(&mut draw);
            if draw() % 10 < if grow { 2 } else { 8 } {
                model.remove(&key);
                batch.delete(key);
            } else {
                let value = vec![draw().to_le_bytes()[0]; usize::try_from(draw() % 20).unwrap().pow(3)];
                model.insert(key.clone(), value.clone());
                batch.put(key, value);
            }
        }
        database.commit(batch).wait().unwrap();
        let (from, prefix) = (drawn_key(&mut draw), drawn_key(&mut draw));
        let prefix = &prefix[..prefix.len() / 2];
        let page = database
            .scan(&Scan::prefix(prefix).after(&from).limit(20))
            .unwrap();
        let expected = model
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && **key > from)
            .take(20);
        assert!(
            page.iter()
                .map(|(key, value)| (key.to_vec(), value.to_vec()))
                .eq(expected.map(owned))
        );
        if round % 100 == 99 {
            database.close().unwrap();
            database = Database::open(directory.path().join("data")).unwrap();
            let all = database.scan(&everything()).unwrap();
            assert!(
                all.iter()
                    .map(|(key, value)| (key.to_vec(), value.to_vec()))
                    .eq(model.iter().map(owned))
            );
        }
    }
}

fn owned((key, value): (&Vec<u8>, &Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    (key.clone(), value.clone())
}

fn drawn_key(draw: &mut impl FnMut() -> u64) -> Vec<u8> {
    let beginnings: [&[u8]; 5] = [
        b"",
        b"orders/inbox/",
        b"orders/inbox/\xff\xff",
        b"orders/",
        &[b'o'; 300],
    ];
    let mut key = beginnings[usize::try_from(draw() % 5).unwrap()].to_vec();
    for _ in 0..draw() % 4 {
        key.push([0, 1, b'a', 0xfe, 0xff][usize::try_from(draw() % 5).unwrap()]);
    }
    key.extend(
        (draw() % 200)
            .to_string()
            .bytes()
            .take(usize::try_from(draw() % 4).unwrap()),
    );
    key
}

#[test]
fn when_one_batch_is_longer_than_many_segments() {
    let (database, directory) = open(Options::new());
    let mut batch = Batch::new();
    for number in 0..15_u8 {
        batch.put(vec![number], vec![number; 1 << 20]);
    }
    database.commit(batch).wait().unwrap();
    let mut batch = Batch::new();
    for number in 0..14_u8 {
        batch.delete(vec![number]);
    }
    database.commit(batch).wait().unwrap();
    database.close().unwrap();
    let again = Database::open(directory.path().join("data")).unwrap();
    assert_eq!(
        again.scan(&Scan::all()).unwrap(),
        [(vec![14].into(), vec![14; 1 << 20].into())]
    );
}

#[test]
fn when_it_grows_over_the_alarm() {
    let (database, _directory) = open(Options::new().disk_alarm_bytes(2 << 20));
    database.commit(put("small", "x")).wait().unwrap();
    assert!(!database.stats().disk_alarm);
    for number in 0..3_u8 {
        database
            .commit(put(vec![number], vec![number; 1 << 20]))
            .wait()
            .unwrap();
    }
    let stats = database.stats();
    assert!(stats.disk_alarm && stats.bytes_on_disk > 2 << 20, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_many_tasks_commit_and_read() {
    let (database, _directory) = open(Options::new());
    let tasks: Vec<_> = (0..64_u32)
        .map(|task| {
            let database = database.clone();
            tokio::spawn(async move {
                for turn in 0..50_u32 {
                    let key = format!("{task:02}");
                    let mut batch = put(key.clone(), turn.to_string());
                    batch.check(match turn {
                        0 => Check::Absent(key.clone().into()),
                        _ => Check::Equals(key.clone().into(), (turn - 1).to_string().into()),
                    });
                    database.commit(batch).await.unwrap();
                    assert_eq!(database.get(key.as_bytes()).unwrap().unwrap(), turn.to_string());
                    assert!(database.count(&Scan::all()).unwrap() > 0);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let stats = database.stats();
    assert_eq!((stats.commits, stats.conflicts, stats.queued), (64 * 50, 0, 0));
    assert!(stats.syncs < stats.commits);
    database.settle();
    assert_eq!(database.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_two_databases_of_one_process_commit_and_read() {
    let (first, _first) = open(Options::new());
    let (second, _second) = open(Options::new());
    let tasks: Vec<_> = (0..64_u32)
        .map(|task| {
            let database = if task % 2 == 0 {
                first.clone()
            } else {
                second.clone()
            };
            tokio::spawn(async move {
                for turn in 0..30_u32 {
                    database.commit(put(format!("{task}/{turn}"), "x")).await.unwrap();
                    database.count(&Scan::all()).unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(first.count(&everything()).unwrap(), 32 * 30);
    assert_eq!(second.count(&everything()).unwrap(), 32 * 30);
}
