//! Closing, and the first error.

use std::{io, thread, time::Duration};

use super::{Held, kind, put};
use crate::{CommitErrorKind, Database, FailureKind, ReadErrorKind, Scan};

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

#[test]
fn when_closing_takes_longer_than_one_waits_it_says_so_and_goes_on() {
    let held = Held::new();
    held.hold();
    let queued = held.database.commit(put("queued", "x"));
    let database = held.database.clone();
    assert_eq!(
        kind(database.close_within(Duration::ZERO)),
        CommitErrorKind::StillClosing
    );
    held.gate().open();
    queued.wait().unwrap();
    held.database.clone().close().unwrap();
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
