//! What readers, waiters and later commits see while the writer is held between writing a group and syncing it.

use std::{collections::BTreeMap, io, thread};

use bytes::Bytes;

use crate::{
    Batch, Check, CommitError, CommitErrorKind, Database, FailureKind, Options, ReadErrorKind, Scan,
    gate::Gate,
};

/// A database in a directory of its own, with its gate.
struct Held {
    database: Database,
    directory: tempfile::TempDir,
}

impl Held {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open_with(directory.path().join("data"), options).unwrap();
        Self { database, directory }
    }

    fn gate(&self) -> &Gate {
        self.database.gate()
    }

    /// Holds the writer in a group of its own, so that what is committed next becomes one group.
    fn hold(&self) {
        self.gate().shut();
        drop(self.database.commit(put("held", "held")));
        self.gate().writer_waits();
    }

    fn all(&self) -> Vec<(Bytes, Bytes)> {
        self.database.scan(&Scan::all()).unwrap()
    }
}

fn put(key: &str, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(key.to_owned(), value);
    batch
}

fn kind(outcome: Result<(), CommitError>) -> CommitErrorKind {
    outcome.unwrap_err().kind()
}

#[test]
fn when_a_reader_looks_between_the_write_and_the_sync() {
    let held = Held::new();
    let mut before = Batch::new();
    for key in ["changed", "removed", "untouched"] {
        before.put(key, "old");
    }
    held.database.commit(before).wait().unwrap();
    let seen_before = held.all();

    held.gate().shut();
    let mut change = Batch::new();
    change.put("added", "new");
    change.put("changed", "new");
    change.delete("removed");
    let answer = held.database.commit(change);
    held.gate().writer_waits();

    assert_eq!(held.all(), seen_before);
    assert_eq!(held.database.count(&Scan::all()).unwrap(), 3);
    assert_eq!(held.database.get(b"added").unwrap(), None);
    assert_eq!(held.database.get(b"changed").unwrap().unwrap(), "old");
    assert_eq!(held.database.get(b"removed").unwrap().unwrap(), "old");
    assert_eq!(held.database.in_flight(), 1);

    held.gate().open();
    answer.wait().unwrap();
    let keys: Vec<_> = held.all().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["added", "changed", "untouched"]);
    assert_eq!(held.database.get(b"changed").unwrap().unwrap(), "new");
}

#[test]
fn when_a_long_value_is_replaced_and_a_reader_looks_before_the_sync() {
    let held = Held::new();
    let (old, new) = (Bytes::from(vec![1; 100_000]), Bytes::from(vec![2; 50_000]));
    held.database.commit(put("long", old.clone())).wait().unwrap();

    held.gate().shut();
    let answer = held.database.commit(put("long", new.clone()));
    held.gate().writer_waits();
    assert_eq!(held.database.get(b"long").unwrap().unwrap(), old);
    assert_eq!(held.all(), [("long".into(), old)]);

    held.gate().open();
    answer.wait().unwrap();
    assert_eq!(held.database.get(b"long").unwrap().unwrap(), new);
}

#[test]
fn when_scans_of_all_kinds_run_before_the_sync() {
    let held = Held::new();
    let mut model = BTreeMap::new();
    let mut draw = draws(7);
    for round in 0..40_u64 {
        let mut batch = Batch::new();
        let mut changed = model.clone();
        for _ in 0..1 + draw() % 12 {
            let key = format!("{:02}", draw() % 40);
            if draw().is_multiple_of(3) {
                changed.remove(&key);
                batch.delete(key);
            } else {
                changed.insert(key.clone(), round);
                batch.put(key, round.to_string());
            }
        }
        held.gate().shut();
        let answer = held.database.commit(batch);
        if changed != model {
            held.gate().writer_waits();
        }
        for _ in 0..10 {
            compare_scan(&held.database, &model, &mut draw);
        }
        held.gate().open();
        answer.wait().unwrap();
        model = changed;
        compare_scan(&held.database, &model, &mut draw);
    }
}

fn compare_scan(database: &Database, model: &BTreeMap<String, u64>, draw: &mut impl FnMut() -> u64) {
    let [prefix, from, after, to] = [(); 4].map(|()| format!("{:02}", draw() % 40));
    let prefix = &prefix[..usize::try_from(draw() % 3).unwrap()];
    let limit = usize::try_from(draw() % 20).unwrap();
    let mut scan = Scan::prefix(prefix.as_bytes()).limit(limit);
    let [with_from, with_after, with_to] = [(); 3].map(|()| draw().is_multiple_of(2));
    scan = if with_from {
        scan.starting_at(from.as_bytes())
    } else {
        scan
    };
    scan = if with_after {
        scan.after(after.as_bytes())
    } else {
        scan
    };
    scan = if with_to { scan.up_to(to.as_bytes()) } else { scan };
    let expected: Vec<(Bytes, Bytes)> = model
        .iter()
        .filter(|(key, _)| key.starts_with(prefix))
        .filter(|(key, _)| !with_from || **key >= from)
        .filter(|(key, _)| !with_after || **key > after)
        .filter(|(key, _)| !with_to || **key < to)
        .map(|(key, round)| (key.clone().into(), round.to_string().into()))
        .take(limit)
        .collect();
    assert_eq!(database.scan(&scan).unwrap(), expected, "{scan:?}");
    assert_eq!(database.count(&scan).unwrap(), expected.len(), "{scan:?}");
}

/// Numbers that look random and depend on the seed alone (xorshift64).
fn draws(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn when_many_commits_wait_they_share_one_sync() {
    let held = Held::new();
    held.hold();
    let answers: Vec<_> = (0..100)
        .map(|number: u32| {
            let mut batch = put("last", number.to_string());
            batch.put(number.to_string(), "x");
            held.database.commit(batch)
        })
        .collect();
    assert_eq!(held.database.stats().queued, 100);
    held.gate().open();
    for answer in answers {
        answer.wait().unwrap();
    }
    let stats = held.database.stats();
    assert_eq!((stats.commits, stats.syncs, stats.largest_group), (101, 2, 100));
    assert_eq!(held.database.get(b"last").unwrap().unwrap(), "99");
}

#[test]
fn when_a_check_fails_in_the_middle_of_a_group() {
    let held = Held::new();
    held.hold();
    let create = |value: &'static str| {
        let mut batch = put("order", value);
        batch.check(Check::Absent("order".into()));
        batch.put(value, "");
        batch
    };
    let replace = |from: &'static str, to: &'static str| {
        let mut batch = put("order", to);
        batch.check(Check::Equals("order".into(), from.into()));
        batch
    };
    let first = held.database.commit(create("first"));
    let second = held.database.commit(create("second"));
    let third = held.database.commit(replace("first", "third"));
    let stale = held.database.commit(replace("first", "fourth"));
    held.gate().open();

    first.wait().unwrap();
    let conflict = second.wait().unwrap_err();
    assert_eq!(
        (conflict.kind(), conflict.key().unwrap()),
        (CommitErrorKind::Conflict, &Bytes::from("order"))
    );
    third.wait().unwrap();
    assert_eq!(kind(stale.wait()), CommitErrorKind::Conflict);
    assert_eq!(held.database.get(b"order").unwrap().unwrap(), "third");
    assert_eq!(held.database.get(b"second").unwrap(), None);
    let stats = held.database.stats();
    assert_eq!((stats.commits, stats.conflicts, stats.syncs), (3, 2, 2));
}

#[test]
fn when_the_answer_is_not_waited_for() {
    let held = Held::new();
    held.hold();
    drop(held.database.commit(put("key", "value")));
    held.gate().open();
    held.database.flush().wait().unwrap();
    assert_eq!(held.database.get(b"key").unwrap().unwrap(), "value");
}

#[test]
fn when_a_batch_is_submitted_and_no_commit_follows() {
    let held = Held::new();
    held.gate().shut();
    held.database.submit(put("key", "value")).unwrap();
    assert_eq!(held.database.in_flight(), 1);
    held.gate().writer_waits();
    assert_eq!(held.database.get(b"key").unwrap(), None);
    held.gate().open();
    held.database.settle();
    assert_eq!(held.database.in_flight(), 0);
    assert_eq!(held.database.get(b"key").unwrap().unwrap(), "value");
}

#[test]
fn when_an_executor_waits_for_what_was_submitted() {
    let held = Held::new();
    for round in 0..200_u32 {
        held.database.submit(put("key", round.to_string())).unwrap();
        held.database.settle();
        assert_eq!(held.database.get(b"key").unwrap().unwrap(), round.to_string());
    }
}

#[test]
fn when_a_submitted_batch_is_followed_by_a_commit() {
    let held = Held::new();
    held.hold();
    held.database.submit(put("key", "submitted")).unwrap();
    let mut batch = put("key", "committed");
    batch.check(Check::Equals("key".into(), "submitted".into()));
    let answer = held.database.commit(batch);
    held.gate().open();
    answer.wait().unwrap();
    assert_eq!(held.database.stats().syncs, 2);
}

#[tokio::test]
async fn when_the_queue_is_full() {
    let held = Held::with(Options::new().queue_batches(2));
    held.hold();
    let first = held.database.commit(put("1", ""));
    let second = held.database.commit(put("2", ""));
    let refused = held.database.commit(put("3", "")).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.is_retryable()),
        (CommitErrorKind::Busy, true)
    );
    assert_eq!(kind(held.database.submit(put("3", ""))), CommitErrorKind::Busy);

    let ready = tokio::spawn({
        let database = held.database.clone();
        async move { database.ready().await }
    });
    tokio::task::yield_now().await;
    assert!(!ready.is_finished());
    held.gate().open();
    ready.await.unwrap();
    first.await.unwrap();
    second.await.unwrap();
    held.database.commit(put("3", "")).await.unwrap();
}

#[test]
fn when_the_bytes_in_the_queue_are_too_many() {
    let held = Held::with(Options::new().queue_bytes(10));
    held.hold();
    let longer_than_the_queue = held.database.commit(put("1", "0123456789"));
    assert_eq!(
        kind(held.database.commit(put("2", "")).wait()),
        CommitErrorKind::Busy
    );
    held.gate().open();
    longer_than_the_queue.wait().unwrap();
}

#[test]
fn when_it_is_closed_with_commits_queued() {
    let held = Held::new();
    held.hold();
    let queued = held.database.commit(put("queued", "x"));
    held.database.submit(put("submitted", "x")).unwrap();
    let closing = thread::spawn({
        let database = held.database.clone();
        move || database.close()
    });
    held.gate().open();
    closing.join().unwrap().unwrap();
    queued.wait().unwrap();
    assert_eq!(
        kind(held.database.commit(put("late", "x")).wait()),
        CommitErrorKind::Closed
    );
    assert_eq!(
        held.database.get(b"queued").unwrap_err().kind(),
        ReadErrorKind::Closed
    );

    let again = Database::open(held.directory.path().join("data")).unwrap();
    assert_eq!(again.count(&Scan::all()).unwrap(), 3);
}

#[tokio::test]
async fn when_a_sync_fails() {
    let held = Held::new();
    held.database.commit(put("key", "durable")).await.unwrap();
    let failed = tokio::spawn({
        let database = held.database.clone();
        async move { database.failed().await }
    });
    held.hold();
    held.gate().fail(io::ErrorKind::StorageFull);
    let waiting = held.database.commit(put("key", "lost"));
    held.gate().open();

    let error = waiting.await.unwrap_err();
    assert_eq!(error.kind(), CommitErrorKind::StorageFull);
    assert_eq!(error.failure().unwrap().kind(), FailureKind::StorageFull);
    assert_eq!(failed.await.unwrap().kind(), FailureKind::StorageFull);
    assert_eq!(held.database.failure().unwrap().kind(), FailureKind::StorageFull);
    assert_eq!(
        kind(held.database.commit(put("later", "")).await),
        CommitErrorKind::StorageFull
    );
    assert_eq!(
        kind(held.database.submit(put("later", ""))),
        CommitErrorKind::StorageFull
    );
    held.database.ready().await;
    held.database.settle();
    assert_eq!(held.database.in_flight(), 0);
    // The group that failed is in the engine by now; readers still see what is known to be durable.
    assert_eq!(held.all(), [("key".into(), "durable".into())]);

    let path = held.database.path().to_owned();
    assert_eq!(kind(held.database.clone().close()), CommitErrorKind::StorageFull);
    let again = Database::open(path).unwrap();
    assert_eq!(again.get(b"key").unwrap().unwrap(), "durable");
    again.commit(put("later", "")).await.unwrap();
}

#[test]
fn when_the_writer_panics() {
    let held = Held::new();
    held.gate().panic();
    assert_eq!(
        kind(held.database.commit(put("key", "")).wait()),
        CommitErrorKind::Failed
    );
    assert_eq!(held.database.failure().unwrap().kind(), FailureKind::Broken);
    assert_eq!(held.all(), []);
}
