//! The store under test, with the questions that the cases ask it. An answer that is an error fails the test.

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::EndpointName;
use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{
    Claimed, InboxState, LoadRequest, Loaded, PendingRow, Persistence, Record, RecordKey, Sizes, Store,
    StoreError, StoreErrorKind,
};

use super::fixture::StoreFixture;
use super::sample::{LEASE, Unit, endpoint, id, key};

/// One opened store.
pub(super) struct Subject {
    pub(super) persistence: Arc<dyn Persistence>,
    pub(super) store: Arc<dyn Store>,
}

impl Subject {
    /// The store of an endpoint in a database that was just made.
    pub(super) async fn new(fixture: &dyn StoreFixture) -> Self {
        Self::of(fixture.create().await, &endpoint("sales")).await
    }

    pub(super) async fn of(persistence: Arc<dyn Persistence>, endpoint: &EndpointName) -> Self {
        let store = persistence.open(endpoint).await;
        let store = store.unwrap_or_else(|error| panic!("failed to open the store of {endpoint}: {error}"));
        Self { persistence, store }
    }

    /// The same store after a clean stop.
    pub(super) async fn restarted(self, fixture: &dyn StoreFixture) -> Self {
        drop(self);
        Self::of(fixture.reopen().await, &endpoint("sales")).await
    }

    pub(super) async fn commit(&self, unit: Unit) {
        let shown = format!("{unit:?}");
        if let Err(error) = self.store.commit(unit.0).await {
            panic!("{shown} must be committed, but failed to {error}");
        }
    }

    /// Commits a unit that must fail with an error of that kind.
    pub(super) async fn refuses(&self, kind: StoreErrorKind, unit: Unit) {
        let shown = format!("{unit:?}");
        match self.store.commit(unit.0).await {
            Ok(()) => panic!("{shown} must fail with {kind:?}, but was committed"),
            Err(error) => assert_eq!(error.kind(), kind, "{shown} failed to {error}"),
        }
    }

    pub(super) async fn conflicts(&self, unit: Unit) {
        self.refuses(StoreErrorKind::Conflict, unit).await;
    }

    pub(super) async fn load(&self, request: &LoadRequest) -> Loaded {
        answer("load", self.store.load(request).await)
    }

    pub(super) async fn inbox(&self, name: impl AsRef<str> + Send) -> Option<InboxState> {
        self.load(&asking(id(name))).await.inbox
    }

    /// The record of that id in the collection of the samples, as seen long before anything expires.
    pub(super) async fn record(&self, name: impl AsRef<str> + Send) -> Option<Record> {
        self.record_at(key(name), Timestamp::UNIX_EPOCH).await
    }

    pub(super) async fn record_at(&self, key: RecordKey, now: Timestamp) -> Option<Record> {
        let mut request = asking(id("nobody"));
        request.records.push(key);
        request.now = now;
        let mut loaded = self.load(&request).await;
        assert_eq!(loaded.records.len(), 1, "one entry per key that was asked for");
        loaded.records.remove(0)
    }

    pub(super) async fn version(&self, name: impl AsRef<str> + Send) -> Option<u64> {
        self.record(name).await.map(|record| record.version)
    }

    pub(super) async fn row(&self, name: impl AsRef<str> + Send) -> Option<PendingRow> {
        let mut request = asking(id("nobody"));
        request.pending = Some(id(name));
        self.load(&request).await.pending
    }

    /// A row that must be there.
    pub(super) async fn present_row(&self, name: &str) -> PendingRow {
        self.row(name)
            .await
            .unwrap_or_else(|| panic!("the row {name} must be there"))
    }

    pub(super) async fn claim_for(&self, now: Timestamp, lease: Duration, limit: usize) -> Claimed {
        let claimed = answer("claim", self.store.claim_due(now, lease, limit).await);
        assert!(
            claimed.rows.len() <= limit,
            "at most {limit} rows, not {}",
            claimed.rows.len()
        );
        claimed
    }

    /// The names of all rows that can be claimed, in the order of the claim.
    pub(super) async fn claim(&self, now: Timestamp) -> Vec<String> {
        names(&self.claim_for(now, LEASE, 1_000).await.rows)
    }

    /// All rows in the order of the listing.
    pub(super) async fn listed(&self) -> Vec<PendingRow> {
        answer(
            "list the pending rows",
            self.store.admin().pending(None, 1_000).await,
        )
    }

    pub(super) async fn listed_records(&self, collection: &str) -> Vec<Record> {
        answer(
            "list the records",
            self.store.admin().records(collection, None, 1_000).await,
        )
    }

    pub(super) async fn purge(&self, before: Timestamp, now: Timestamp, limit: usize) -> usize {
        answer("purge", self.store.admin().purge(before, now, limit).await)
    }

    pub(super) async fn sizes(&self) -> Sizes {
        answer("count", self.store.admin().sizes().await)
    }
}

/// A request for nothing but what is known of one message.
pub(super) fn asking(inbox: MessageId) -> LoadRequest {
    LoadRequest {
        inbox,
        records: Vec::new(),
        pending: None,
        now: Timestamp::UNIX_EPOCH,
    }
}

pub(super) fn names(rows: &[PendingRow]) -> Vec<String> {
    rows.iter().map(|row| row.id.to_string()).collect()
}

fn answer<T>(doing: &str, result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("must {doing}, but failed to {error}"))
}
