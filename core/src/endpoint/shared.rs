//! What all parts of a running endpoint share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tracing::Instrument;

use crate::address::{Address, EndpointName};
use crate::clock::{Clock, Timestamp, within};
use crate::codec::Codec;
use crate::endpoint::EndpointError;
use crate::endpoint::alarms::Alarms;
use crate::endpoint::begun::Begun;
use crate::endpoint::dispatcher::DispatchQueue;
use crate::endpoint::gates::Gates;
use crate::endpoint::given_back::GivenBack;
use crate::endpoint::locks::KeyedLocks;
use crate::endpoint::marks::Marks;
use crate::endpoint::registry::Registry;
use crate::endpoint::relay::RelaySignal;
use crate::endpoint::settings::{Settings, Waits};
use crate::endpoint::stats::{Counters, Statuses, Times};
use crate::endpoint::unsent::Unsent;
use crate::ids::Randomness;
use crate::pipeline::PipelineStep;
use crate::store::{LoadRequest, Loaded, PendingChange, Store, StoreError, StoreErrorKind, UnitOfWork};
use crate::transport::Transport;

/// Everything that handling, dispatching and relaying need.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: EndpointName,
    pub(crate) error_queue: Address,
    pub(crate) host: String,
    pub(crate) settings: Settings,
    pub(crate) waits: Waits,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) codec: Arc<dyn Codec>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) randomness: Arc<dyn Randomness>,
    pub(crate) routes: BTreeMap<String, Address>,
    pub(crate) steps: Vec<Arc<dyn PipelineStep>>,
    pub(crate) registry: Registry,
    pub(crate) locks: KeyedLocks,
    pub(crate) gates: Arc<Gates>,
    /// One for each message that may be handled at once.
    pub(crate) permits: Semaphore,
    pub(crate) queue: DispatchQueue,
    pub(crate) marks: Marks,
    pub(crate) begun: Begun,
    pub(crate) given_back: GivenBack,
    pub(crate) unsent: Unsent,
    pub(crate) relay: RelaySignal,
    pub(crate) counters: Counters,
    pub(crate) times: Times,
    pub(crate) statuses: Statuses,
    pub(crate) alarms: Alarms,
    pub(crate) fatal: Fatal,
    #[cfg(feature = "simulation")]
    pub(crate) probing: crate::endpoint::probing::Probing,
}

impl Shared {
    /// Whether an acknowledgement may go out right after a commit.
    pub(crate) fn is_durable(&self) -> bool {
        self.store
            .as_ref()
            .is_some_and(|store| store.durability() > crate::store::Durability::Memory)
    }

    /// The longest delay given to the broker: alarms come one tick after their instant, and clocks differ a little.
    pub(crate) fn longest_delay(&self) -> Duration {
        self.transport
            .capabilities()
            .max_delay
            .saturating_sub(Duration::from_secs(1))
    }

    /// The longest delay given to the broker where there is no store for the rest.
    pub(crate) fn longest_delay_storeless(&self) -> Duration {
        let longest = self.transport.capabilities().max_delay_storeless;
        longest.saturating_sub(Duration::from_secs(1))
    }

    /// Loads within the time limit; a fatal error stops the endpoint.
    pub(crate) async fn load(&self, store: &dyn Store, request: &LoadRequest) -> Result<Loaded, StoreError> {
        let load = store.load(request).instrument(tracing::debug_span!("load"));
        let answer = within(&*self.clock, self.settings.call_limit, load).await;
        self.watch(answer.unwrap_or_else(|| Err(too_slow(StoreErrorKind::Unavailable, "load"))))
    }

    /// Commits within the time limit; marks that wait ride along. A fatal error stops the endpoint.
    pub(crate) async fn commit(&self, store: &dyn Store, mut work: UnitOfWork) -> Result<(), StoreError> {
        // They are older than what this unit says of the same rows.
        let marks = self.marks.take();
        work.pending.splice(0..0, marks.iter().cloned());
        let look = Look {
            shared: self,
            at: earliest_attention(&work.pending),
        };
        let commit = store.commit(work).instrument(tracing::debug_span!("commit"));
        let answer = within(&*self.clock, self.settings.call_limit, commit).await;
        let result = self.watch(answer.unwrap_or_else(|| Err(too_slow(StoreErrorKind::Unknown, "commit"))));
        drop(look);
        if let Err(error) = &result {
            if error.kind() == StoreErrorKind::Unknown {
                // It may still be on its way, with rows that nobody sends from memory.
                let now = self.clock.now();
                self.relay.doubt_until(now + self.waits.lease);
                self.relay.look_at(now);
            }
            self.marks.put_back(marks);
        }
        result
    }

    fn watch<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result
            && error.is_fatal()
        {
            self.fatal
                .raise(EndpointError::store(format!("use the store: {error}")));
        }
        result
    }
}

/// Has the relay look when a commit is over, however it ends: rows are seen only then. Also when nobody waits for it any
/// more, since what was begun may still be committed.
struct Look<'a> {
    shared: &'a Shared,
    at: Option<Timestamp>,
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            self.shared.relay.look_at(at);
        }
    }
}

/// When the first of the rows that these changes touch wants to be looked at.
fn earliest_attention(changes: &[PendingChange]) -> Option<Timestamp> {
    let attentions = changes.iter().filter_map(|change| match change {
        PendingChange::Add(row) => Some(row.attention),
        PendingChange::AlarmSent { attention, .. }
        | PendingChange::Defer { attention, .. }
        | PendingChange::Move { attention, .. } => Some(*attention),
        PendingChange::Sent(_)
        | PendingChange::Fire { .. }
        | PendingChange::Cancel(_)
        | PendingChange::Park { .. } => None,
    });
    attentions.min()
}

fn too_slow(kind: StoreErrorKind, what: &str) -> StoreError {
    StoreError::new(
        kind,
        format!("{what} within the time limit of one call; the store is too slow or does not answer"),
    )
}

/// An error that stops the endpoint: the first one counts.
#[derive(Debug, Default)]
pub(crate) struct Fatal {
    error: Mutex<Option<EndpointError>>,
    notify: Notify,
}

impl Fatal {
    fn lock(&self) -> MutexGuard<'_, Option<EndpointError>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn raise(&self, error: EndpointError) {
        tracing::error!(%error, "the endpoint stops");
        self.lock().get_or_insert(error);
        self.notify.notify_one();
    }

    /// Resolves when an error was raised.
    pub(crate) async fn raised(&self) -> EndpointError {
        loop {
            if let Some(error) = self.lock().take() {
                return error;
            }
            self.notify.notified().await;
        }
    }
}
