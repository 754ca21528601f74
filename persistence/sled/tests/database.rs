//! One database for several endpoints and others, and what is wrong with it.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::Headers;
use longhaul_core::ids::{MessageId, Randomness, SeededRandomness};
use longhaul_core::store::{
    Durability, InboxChange, InboxState, PendingChange, PendingKind, PendingRow, Persistence, RecordChange,
    RecordKey, Sizes, StoreError, StoreErrorKind, UnitOfWork,
};
use longhaul_core::transport::Destination;
use longhaul_embedded::{Batch, Database, Options, Scan};
use longhaul_sled::Sled;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[tokio::test]
async fn when_it_is_asked_what_it_is_it_says_so() -> Fallible<()> {
    let directory = tempfile::tempdir()?;
    let store = Sled::open(directory.path().join("data"))?
        .open(&Address::new("sales")?)
        .await?;
    assert_eq!(store.durability(), Durability::Synced);
    assert!(!store.is_shared());
    Ok(())
}

#[tokio::test]
async fn when_others_keep_theirs_in_the_same_database_neither_touches_the_other() -> Fallible<()> {
    let directory = tempfile::tempdir()?;
    let database = Database::open(directory.path().join("data"))?;
    let mut batch = Batch::new();
    for key in ["", "store", "store.", "storf", "s", "queue/1"] {
        batch.put(key, "theirs");
    }
    database.commit(batch.clone()).await?;
    let store = Sled::on(database.clone()).open(&Address::new("sales")?).await?;
    assert_eq!(store.admin().sizes().await?, Sizes::default());
    store.commit(everything("m-1", 10)?).await?;
    store.admin().purge(Timestamp::MAX, Timestamp::MAX, 100).await?;
    let theirs = database
        .scan(&Scan::all())?
        .into_iter()
        .filter(|(_, value)| value.as_ref() == b"theirs");
    assert_eq!(theirs.count(), batch.len());
    Ok(())
}

#[tokio::test]
async fn when_two_handles_of_one_database_open_an_endpoint_they_share_it() -> Fallible<()> {
    let directory = tempfile::tempdir()?;
    let database = Database::open(directory.path().join("data"))?;
    let sales = Address::new("sales")?;
    let one = Sled::on(database.clone()).open(&sales).await?;
    let other = Sled::on(database.clone()).open(&sales).await?;
    one.commit(everything("m-1", 10)?).await?;
    assert_eq!(other.admin().sizes().await?.timeouts, 1);
    assert_eq!(other.admin().pending(None, 10).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn when_a_database_was_closed_its_stores_fail_and_it_can_be_opened_anew() -> Fallible<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("data");
    let database = Database::open(&path)?;
    let sales = Address::new("sales")?;
    let old = Sled::on(database.clone()).open(&sales).await?;
    old.commit(everything("m-1", 10)?).await?;
    database.close()?;
    assert_eq!(
        kind(old.commit(everything("m-2", 10)?).await)?,
        StoreErrorKind::Failed
    );

    let new = Sled::open(&path)?.open(&sales).await?;
    new.commit(everything("m-2", 10)?).await?;
    assert_eq!(new.admin().sizes().await?.inbox, 2);
    Ok(())
}

#[tokio::test]
async fn when_the_directory_cannot_be_used_the_error_says_why() -> Fallible<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("data");
    let _open = Sled::open(&path)?;
    assert_eq!(kind(Sled::open(&path))?, StoreErrorKind::InUse);
    let file = directory.path().join("file");
    std::fs::write(&file, "x")?;
    assert_eq!(kind(Sled::open(file))?, StoreErrorKind::Configuration);
    assert_eq!(
        kind(Sled::open(directory.path().join("missing").join("data")))?,
        StoreErrorKind::Configuration
    );
    Ok(())
}

#[tokio::test]
async fn when_a_value_is_over_the_limit_of_the_engine_it_is_refused() -> Fallible<()> {
    let directory = tempfile::tempdir()?;
    let database = Database::open_with(
        directory.path().join("data"),
        Options::new().max_value_bytes(10_000),
    )?;
    let store = Sled::on(database).open(&Address::new("sales")?).await?;
    assert_eq!(
        kind(store.commit(everything("m-1", 10_001)?).await)?,
        StoreErrorKind::Refused
    );
    assert_eq!(store.admin().sizes().await?, Sizes::default());
    store.commit(everything("m-1", 9_000)?).await?;
    Ok(())
}

#[tokio::test]
async fn when_a_body_is_as_large_as_a_message_may_be_it_is_stored() -> Fallible<()> {
    let directory = tempfile::tempdir()?;
    let store = Sled::open(directory.path().join("data"))?
        .open(&Address::new("sales")?)
        .await?;
    store.commit(everything("m-1", 1 << 20)?).await?;
    let rows = store.admin().pending(None, 1).await?;
    assert_eq!(rows.first().map(|row| row.envelope.body.len()), Some(1 << 20));
    Ok(())
}

#[tokio::test]
async fn when_a_store_is_dropped_with_commits_on_the_way_the_next_one_knows_of_them() -> Fallible<()> {
    let directory = tempfile::tempdir()?;
    let database = Database::open(directory.path().join("data"))?;
    let sales = Address::new("sales")?;
    for number in 1..=50 {
        let store = Sled::on(database.clone()).open(&sales).await?;
        // Mostly on its way then, now and then committed already.
        let begun = store.commit(everything(&format!("m-{number}"), 10)?);
        begun.now_or_never().transpose()?;
        drop(store);
        let store = Sled::on(database.clone()).open(&sales).await?;
        let sizes = store.admin().sizes().await?;
        assert_eq!(
            (sizes.inbox, sizes.records, sizes.timeouts),
            (number, number, number)
        );
    }
    Ok(())
}

/// Commits that are given up on the way leave the memory of the store as the database is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_many_commits_are_given_up_memory_and_database_agree() -> Fallible<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("data");
    let sales = Address::new("sales")?;
    let store = Sled::open(&path)?.open(&sales).await?;
    let randomness = SeededRandomness::new(11);
    let mut commits = Vec::new();
    for number in 0..2_000_u64 {
        let store = Arc::clone(&store);
        let (name, other) = (
            format!("m-{}", number / 2),
            format!("m-{}", randomness.next_u64() % (number / 2 + 1)),
        );
        let change = match randomness.next_u64() % 4 {
            0 => PendingChange::Move {
                id: MessageId::new(&other)?,
                due: NOW,
                attention: NOW,
            },
            1 => PendingChange::Park {
                id: MessageId::new(&other)?,
                token: None,
                reason: "why".to_owned(),
            },
            2 => PendingChange::Fire {
                id: MessageId::new(&other)?,
                token: 0,
            },
            _ => PendingChange::Cancel(MessageId::new(&other)?),
        };
        let mut unit = everything(&name, 10)?;
        unit.pending.push(change);
        commits.push(tokio::spawn(async move { store.commit(unit).await }));
        if randomness.next_u64().is_multiple_of(3) {
            commits[usize::try_from(number)?].abort();
        }
        if randomness.next_u64().is_multiple_of(64) {
            tokio::task::yield_now().await;
        }
    }
    let mut outcomes = [0; 3];
    for commit in commits {
        match commit.await {
            Ok(Ok(())) => outcomes[0] += 1,
            Ok(Err(error)) => {
                assert_eq!(error.kind(), StoreErrorKind::Conflict, "failed to {error}");
                outcomes[1] += 1;
            }
            Err(_given_up) => outcomes[2] += 1,
        }
    }
    assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
    // A unit behind all others: what was begun before it is settled.
    store.commit(everything("the last", 10)?).await?;
    let before = (
        store.admin().sizes().await?,
        store.admin().pending(None, 10_000).await?,
    );
    drop(store);
    let store = Sled::open(&path)?.open(&sales).await?;
    assert_eq!(
        (
            store.admin().sizes().await?,
            store.admin().pending(None, 10_000).await?
        ),
        before
    );
    Ok(())
}

fn kind<T>(result: Result<T, StoreError>) -> Fallible<StoreErrorKind> {
    let error = result.err().ok_or("it must fail")?;
    Ok(error.kind())
}

fn everything(name: &str, body_bytes: usize) -> Fallible<UnitOfWork> {
    let id = MessageId::new(name)?;
    let row = PendingRow {
        envelope: Envelope::new(id.clone(), Headers::new(), Bytes::from(vec![b'x'; body_bytes])),
        id: id.clone(),
        kind: PendingKind::Timeout,
        owner: None,
        name: "overdue".to_owned(),
        to: Destination::Queue(Address::new("billing")?),
        due: Some(NOW),
        attention: NOW,
        token: 0,
        alarm_sent: false,
        parked: None,
    };
    Ok(UnitOfWork {
        inbox: vec![InboxChange {
            id,
            expected: None,
            next: Some(InboxState::Done),
            at: NOW,
        }],
        records: vec![RecordChange::Put {
            key: RecordKey::new("order", name),
            expected: None,
            body: Bytes::from_static(b"the state of an order"),
            expires: None,
        }],
        pending: vec![PendingChange::Add(Box::new(row))],
    })
}
