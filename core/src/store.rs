//! The store's seam: where an endpoint's state lives, and the plain data that goes in and out.
//!
//! Every guarantee written here has a case in the contract suite of `longhaul-testing`, which every store runs.

mod pending;
mod store_error;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::address::EndpointName;
use crate::clock::Timestamp;
use crate::ids::MessageId;

pub use pending::{PendingChange, PendingKind, PendingRow};
pub use store_error::{StoreError, StoreErrorKind};

/// Opens the store of one endpoint: a database that several endpoints may share.
#[async_trait]
pub trait Persistence: fmt::Debug + Send + Sync + 'static {
    /// Opens what belongs to `endpoint`, creating it at first use. Nothing of another endpoint is seen or touched.
    ///
    /// # Errors
    /// The database can't be used.
    async fn open(&self, endpoint: &EndpointName) -> Result<Arc<dyn Store>, StoreError>;

    /// Whether something is stored of `endpoint`, found out without creating anything; `None` where that can't be told.
    ///
    /// # Errors
    /// The database can't be used.
    async fn has(&self, endpoint: &EndpointName) -> Result<Option<bool>, StoreError> {
        let _ = endpoint;
        Ok(None)
    }
}

/// Where the state of one endpoint lives. Object safe; one commit is one value.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Reads what handling one message needs, all at one moment. Returns only what is already as durable as
    /// [`Store::durability`] says. Records come in the order asked for; an expired record counts as absent.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    async fn load(&self, request: &LoadRequest) -> Result<Loaded, StoreError>;

    /// Commits everything in `work`, or nothing; durable on return. Units begun in order (first polled) take effect in
    /// order, and each sees the ones before it. Within a unit, changes take effect in order: inbox, records, pending rows.
    ///
    /// A commit asks no clock: its "now", for what has expired, is the latest [`InboxChange::at`] of the unit; in a unit
    /// without one nothing counts as expired. The future must be polled until it ends, or dropped: one that is parked may
    /// hold up others.
    ///
    /// Dropping the future does not undo it: the outcome is unknown, and the inbox tells.
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`] fails this unit only: an expectation in it does not hold.
    /// [`StoreErrorKind::Unknown`] where it may have been committed.
    async fn commit(&self, work: UnitOfWork) -> Result<(), StoreError>;

    /// Claims pending rows whose `attention` time has come, earliest first, at most `limit`. A claimed row is not
    /// claimed again before `now + lease`, unless it is changed meanwhile, which ends the claim. Parked rows are never
    /// claimed. Claims need not survive the process.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    async fn claim_due(&self, now: Timestamp, lease: Duration, limit: usize) -> Result<Claimed, StoreError>;

    /// How durable a commit is. Constant for its lifetime.
    fn durability(&self) -> Durability;

    /// Whether several processes of one endpoint may use it at once. Constant for its lifetime.
    fn is_shared(&self) -> bool;

    /// Listings and clean-up.
    fn admin(&self) -> &dyn StoreAdmin;
}

/// Paged listings and clean-up, for the endpoint's housekeeping and for operators.
#[async_trait]
pub trait StoreAdmin: Send + Sync {
    /// Records of one collection by id, those after `after`, at most `limit`; expired ones included until purged.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    async fn records(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError>;

    /// Pending rows in the order of (attention, id), those after `after`, at most `limit`; parked ones come last.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    async fn pending(&self, after: Option<&PendingRow>, limit: usize) -> Result<Vec<PendingRow>, StoreError>;

    /// Removes inbox entries in state [`InboxState::Done`] last changed before `before`, and records that expired before
    /// `now`; at most `limit` of each. Returns how many went. `Failed`, `Scheduled` and `Started` entries stay.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    async fn purge(&self, before: Timestamp, now: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// How much there is. May be counted by scanning.
    ///
    /// # Errors
    /// See [`StoreErrorKind`].
    async fn sizes(&self) -> Result<Sizes, StoreError>;
}

/// Names one record: what kind of thing it is, and which.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The kind of thing.
    pub collection: Arc<str>,
    /// Which one.
    pub id: Arc<str>,
}

impl RecordKey {
    /// The longest collection name in bytes.
    pub const MAX_COLLECTION_BYTES: usize = 200;
    /// The longest id in bytes.
    pub const MAX_ID_BYTES: usize = 512;

    /// A key of these two; stores refuse ones over the limits of this type.
    pub fn new(collection: impl AsRef<str>, id: impl AsRef<str>) -> Self {
        Self {
            collection: Arc::from(collection.as_ref()),
            id: Arc::from(id.as_ref()),
        }
    }
}

/// One versioned piece of state; what is in it is its owner's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub key: RecordKey,
    /// 1 when first written, one more with every change, also over an expired one; starts anew when deleted or purged.
    pub version: u64,
    /// Its content.
    pub body: Bytes,
    /// From this time on it counts as absent and may be forgotten.
    pub expires: Option<Timestamp>,
}

/// What is asked of [`Store::load`].
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// The message being handled.
    pub inbox: MessageId,
    /// The records wanted.
    pub records: Vec<RecordKey>,
    /// The pending row wanted, where the message is its alarm.
    pub pending: Option<MessageId>,
    /// The time now, for expiry.
    pub now: Timestamp,
}

/// What [`Store::load`] found.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// What is known of the message.
    pub inbox: Option<InboxState>,
    /// One entry per key asked for, in that order.
    pub records: Vec<Option<Record>>,
    /// The pending row.
    pub pending: Option<PendingRow>,
}

/// What an endpoint knows of one message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboxState {
    /// A copy of the given generation is on its way for another attempt.
    Scheduled {
        /// The copy that counts.
        generation: u32,
        /// Attempts that failed so far.
        attempts: u32,
        /// When it failed first.
        since: Timestamp,
    },
    /// It was begun alone, because it may have ended the process before.
    Started {
        /// The copy that counts.
        generation: u32,
        /// Attempts that failed so far.
        attempts: u32,
        /// How often it was begun like that, this time included: each time before, the process ended.
        times: u32,
        /// When it failed first, or was begun first.
        since: Timestamp,
    },
    /// It is in the error queue.
    Failed {
        /// Attempts made.
        attempts: u32,
    },
    /// It is handled, and its effects are committed.
    Done,
}

/// A change of what is known of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxChange {
    /// The message.
    pub id: MessageId,
    /// What must be known now, else the unit conflicts.
    pub expected: Option<InboxState>,
    /// What is known afterwards; `None` forgets it.
    pub next: Option<InboxState>,
    /// The time of the change.
    pub at: Timestamp,
}

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    /// Writes the record; its version becomes one more than expected.
    Put {
        /// Which.
        key: RecordKey,
        /// The version it must have now, `None` for absent or expired, else the unit conflicts.
        expected: Option<u64>,
        /// Its new content.
        body: Bytes,
        /// When it may be forgotten.
        expires: Option<Timestamp>,
    },
    /// Removes the record.
    Delete {
        /// Which.
        key: RecordKey,
        /// The version it must have now, else the unit conflicts.
        expected: u64,
    },
}

/// Everything that one handled message changes. All or nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UnitOfWork {
    /// What is known of messages.
    pub inbox: Vec<InboxChange>,
    /// State.
    pub records: Vec<RecordChange>,
    /// What is to be sent.
    pub pending: Vec<PendingChange>,
}

impl UnitOfWork {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.records.is_empty() && self.pending.is_empty()
    }
}

/// What [`Store::claim_due`] found.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// The rows.
    pub rows: Vec<PendingRow>,
    /// When to look again at the earliest: the first attention, or end of a claim, of the rows that were not claimed.
    pub next: Option<Timestamp>,
}

/// How durable a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Gone with the process. The endpoint acknowledges a message only when the broker has all that its handling sent; what
    /// is due beyond the broker's longest delay is nowhere else, and is gone too.
    Memory,
    /// Survives the end of the process.
    Process,
    /// Survives the loss of power.
    Synced,
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Known message ids.
    pub inbox: u64,
    /// Records.
    pub records: u64,
    /// Messages not yet sent.
    pub unsent: u64,
    /// Timeouts not yet fired.
    pub timeouts: u64,
    /// Rows set aside.
    pub parked: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_seams_are_used_as_objects_it_compiles() {
        const fn _object_safe(_: &dyn Persistence, _: &dyn Store, _: &dyn StoreAdmin) {}
    }
}
