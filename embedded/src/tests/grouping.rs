//! Batches that share a sync, and batches that find no room.

use bytes::Bytes;

use super::{Held, kind, put};
use crate::{Check, CommitErrorKind, Options};

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
