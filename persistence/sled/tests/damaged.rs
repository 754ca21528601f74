//! Values that can't be read: each fails only what asks for it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::Headers;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{
    InboxChange, InboxState, LoadRequest, Loaded, PendingChange, PendingKind, PendingRow, Persistence,
    RecordChange, RecordKey, Store, StoreError, StoreErrorKind, UnitOfWork,
};
use longhaul_core::transport::Destination;
use longhaul_embedded::{Batch, Database, Scan};
use longhaul_sled::Sled;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const LEASE: Duration = Duration::from_secs(60);

/// A store with one message, one record and one row by each of two names.
struct Damaged {
    directory: tempfile::TempDir,
    database: Database,
    store: Arc<dyn Store>,
}

impl Damaged {
    async fn new() -> Fallible<Self> {
        let directory = tempfile::tempdir()?;
        let database = Database::open(directory.path().join("data"))?;
        let store = Sled::on(database.clone()).open(&sales()?).await?;
        for name in ["good", "bad"] {
            store.commit(everything(name)?).await?;
        }
        Ok(Self {
            directory,
            database,
            store,
        })
    }

    /// Flips one bit in the value of each key that ends with `name`. Returns how many there are.
    async fn damage(&self, name: &str) -> Fallible<usize> {
        let mut batch = Batch::new();
        for (key, value) in self.database.scan(&Scan::all())? {
            if key.ends_with(name.as_bytes()) && !value.is_empty() {
                let mut bytes = value.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                batch.put(key, bytes);
            }
        }
        let count = batch.len();
        self.database.commit(batch).await?;
        Ok(count)
    }

    /// Opens it all anew.
    async fn reopened(self) -> Fallible<Self> {
        let Self {
            directory,
            database,
            store,
        } = self;
        drop((database, store));
        let database = Database::open(directory.path().join("data"))?;
        let store = Sled::on(database.clone()).open(&sales()?).await?;
        Ok(Self {
            directory,
            database,
            store,
        })
    }
}

#[tokio::test]
async fn when_a_bit_flips_only_what_asks_for_the_value_fails() -> Fallible<()> {
    let damaged = Damaged::new().await?;
    assert_eq!(damaged.damage("bad").await?, 3);
    let store = &damaged.store;
    let everything_good = load(&**store, "good", "good", "good").await?;
    assert!(everything_good.inbox.is_some() && everything_good.pending.is_some());
    for (message, record, row) in [
        ("bad", "good", "good"),
        ("good", "bad", "good"),
        ("good", "good", "bad"),
    ] {
        let error = load(&**store, message, record, row)
            .await
            .err()
            .ok_or("it must fail")?;
        assert_eq!(error.kind(), StoreErrorKind::Unreadable);
        assert!(error.to_string().contains("bad"), "it names the thing: {error}");
    }
    store.commit(everything("another")?).await?;
    Ok(())
}

#[tokio::test]
async fn when_a_record_cannot_be_read_listings_leave_it_out() -> Fallible<()> {
    let damaged = Damaged::new().await?;
    damaged.damage("bad").await?;
    let admin = damaged.store.admin();
    let records = admin.records("order", None, 1).await?;
    assert_eq!(
        records.iter().map(|record| &*record.key.id).collect::<Vec<_>>(),
        ["good"]
    );
    let rows = admin.pending(None, 10).await?;
    assert_eq!(
        rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
        ["good"]
    );
    Ok(())
}

#[tokio::test]
async fn when_a_row_cannot_be_read_the_others_are_claimed() -> Fallible<()> {
    let damaged = Damaged::new().await?;
    damaged.damage("bad").await?;
    let claimed = damaged.store.claim_due(NOW, LEASE, 10).await?;
    assert_eq!(
        claimed.rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
        ["good"]
    );

    let damaged = damaged.reopened().await?;
    let store = &damaged.store;
    let claimed = store.claim_due(NOW, LEASE, 10).await?;
    assert_eq!(
        claimed.rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
        ["good"]
    );
    let sizes = store.admin().sizes().await?;
    assert_eq!((sizes.unsent, sizes.parked), (1, 1), "it is seen as set aside");

    let fire = PendingChange::Defer {
        id: MessageId::new("bad")?,
        token: None,
        attention: NOW,
    };
    let error = store.commit(pending(fire)).await.err().ok_or("it must fail")?;
    assert_eq!(error.kind(), StoreErrorKind::Unreadable);
    store
        .commit(pending(PendingChange::Cancel(MessageId::new("bad")?)))
        .await?;
    assert_eq!(store.admin().sizes().await?.parked, 0);
    Ok(())
}

#[tokio::test]
async fn when_a_record_cannot_be_read_it_is_not_written_over_as_if_it_were_absent() -> Fallible<()> {
    let damaged = Damaged::new().await?;
    damaged.damage("bad").await?;
    let error = damaged
        .store
        .commit(everything("bad")?)
        .await
        .err()
        .ok_or("it must fail")?;
    assert_eq!(error.kind(), StoreErrorKind::Unreadable);
    Ok(())
}

#[tokio::test]
async fn when_what_is_old_cannot_be_read_purging_goes_on() -> Fallible<()> {
    let damaged = Damaged::new().await?;
    damaged.damage("bad").await?;
    let later = NOW + LEASE;
    assert_eq!(damaged.store.admin().purge(later, later, 100).await?, 1);
    assert_eq!(damaged.store.admin().purge(later, later, 100).await?, 0);
    Ok(())
}

#[tokio::test]
async fn when_a_newer_version_wrote_the_store_it_is_left_alone() -> Fallible<()> {
    let damaged = Damaged::new().await?;
    let entries = damaged.database.scan(&Scan::all())?;
    let (key, _) = entries
        .iter()
        .find(|(_, value)| value.as_ref() == [1])
        .ok_or("the format is stored")?;
    let mut batch = Batch::new();
    batch.put(key.clone(), vec![2]);
    damaged.database.commit(batch).await?;
    let sled = Sled::on(damaged.database.clone());
    drop(damaged.store);
    let error = sled.open(&sales()?).await.err().ok_or("it must fail")?;
    assert_eq!(error.kind(), StoreErrorKind::Newer);
    sled.open(&Address::new("another endpoint")?).await?;
    Ok(())
}

async fn load(store: &dyn Store, message: &str, record: &str, row: &str) -> Result<Loaded, StoreError> {
    let id = |text| {
        MessageId::new(text).map_err(|fault| StoreError::new(StoreErrorKind::Refused, fault.to_string()))
    };
    let request = LoadRequest {
        inbox: id(message)?,
        records: vec![RecordKey::new("order", record)],
        pending: Some(id(row)?),
        now: NOW,
    };
    store.load(&request).await
}

fn sales() -> Fallible<Address> {
    Ok(Address::new("sales")?)
}

fn pending(change: PendingChange) -> UnitOfWork {
    UnitOfWork {
        pending: vec![change],
        ..UnitOfWork::default()
    }
}

fn everything(name: &str) -> Fallible<UnitOfWork> {
    let id = MessageId::new(name)?;
    let row = PendingRow {
        envelope: Envelope::new(id.clone(), Headers::new(), Bytes::from_static(b"{}")),
        id: id.clone(),
        kind: PendingKind::Message,
        owner: None,
        name: String::new(),
        to: Destination::Queue(Address::new("billing")?),
        due: None,
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
