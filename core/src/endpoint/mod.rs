//! The endpoint: takes messages from one queue, handles them exactly once in effect, and sends what follows.

mod admission;
mod alarms;
mod arrival;
mod attempt;
mod begun;
mod builder;
mod compose;
mod control;
mod dispatcher;
mod error_queue;
mod failing;
mod gate;
mod gates;
mod given_back;
mod known;
mod locks;
mod manifest;
mod marks;
mod preparing;
mod probing;
mod process;
mod quarantine;
mod registry;
mod rehearsal;
mod rejecting;
mod relay;
mod run;
mod session;
mod settings;
mod shared;
pub mod started;
mod stats;
mod storeless;
mod unsent;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

pub use builder::EndpointBuilder;
pub use gates::Breakers;
pub use quarantine::Waiting;
pub use rehearsal::{Consequences, Rehearsal, Rehearsed, RehearsedChange, RehearsedSend, Verdict};
pub use session::{Batch, Session};
pub use settings::Settings;
pub use stats::{Durations, Stats, Timings};

use crate::address::EndpointName;
use crate::clock::within;
use crate::store::{PendingKind, PendingRow, Sizes};
use crate::transport::Health;
use shared::Shared;

/// An endpoint that is ready to run.
///
/// It is one future: [`Endpoint::run_until`] handles all its messages, up to the concurrency set, on the task that polls
/// it, without spawning. Code that computes for long or blocks belongs on a thread of its own.
#[derive(Debug)]
pub struct Endpoint {
    shared: Arc<Shared>,
}

impl Endpoint {
    /// Begins to put an endpoint together; its input queue has its name.
    pub fn builder(name: impl Into<String>) -> EndpointBuilder {
        EndpointBuilder::new(name.into())
    }

    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &EndpointName {
        &self.shared.name
    }

    /// Sends messages from code that is not a handler.
    #[must_use]
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.shared))
    }

    /// A view of its counters that stays valid while it runs.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        Monitor {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Handles messages until `stop` resolves; then finishes those begun, within the limit set, and gives the rest back.
    ///
    /// # Errors
    /// The store failed for good, the broker refuses for good, or another process consumes the queue of a store that
    /// belongs to one process. Nothing unfinished was acknowledged.
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send) -> Result<(), EndpointError> {
        let shared = &self.shared;
        let receiver = if shared.registry.is_empty() {
            None
        } else {
            let open = shared
                .transport
                .receiver(&shared.name, preparing::receiver_options(shared));
            let opened = within(&*shared.clock, shared.settings.call_limit, open).await;
            let opened = opened.ok_or_else(|| {
                EndpointError::new(
                    EndpointErrorKind::Transport,
                    "consume the input queue: the broker did not answer in time",
                )
            })?;
            Some(
                opened
                    .map_err(|error| EndpointError::new(EndpointErrorKind::Transport, error.to_string()))?,
            )
        };
        tracing::info!(endpoint = %shared.name, transport = shared.transport.capabilities().name, "the endpoint is ready");
        run::run(shared, receiver, stop).await
    }
}

/// A view of a running endpoint.
#[derive(Debug, Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
}

impl Monitor {
    /// What the endpoint has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    /// How many instances of what came to which status since the endpoint was built, in words of the participants with state.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<Cow<'static, str>, BTreeMap<&'static str, u64>> {
        self.shared.statuses.read()
    }

    /// How long messages took so far.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.shared.times.read()
    }

    /// The endpoint's name.
    #[must_use]
    pub fn name(&self) -> &EndpointName {
        &self.shared.name
    }

    /// Whether the broker can be reached, as it changes.
    #[must_use]
    pub fn transport_health(&self) -> watch::Receiver<Health> {
        self.shared.transport.health()
    }

    /// How much the store holds; `None` where there is none.
    ///
    /// # Errors
    /// The store could not be asked within the limit of one call.
    pub async fn sizes(&self) -> Result<Option<Sizes>, EndpointError> {
        let shared = &self.shared;
        let Some(store) = shared.store.as_deref() else {
            return Ok(None);
        };
        let sizes = within(&*shared.clock, shared.settings.call_limit, store.admin().sizes()).await;
        let sizes = sizes
            .ok_or_else(|| EndpointError::store("count what the store holds: it did not answer in time"))?;
        Ok(Some(sizes?))
    }

    /// How many timeouts are due and have not fired, of those that the store looks at first: at most 1000 are counted. `None`
    /// where there is no store.
    ///
    /// # Errors
    /// The store could not be asked within the limit of one call.
    pub async fn overdue(&self) -> Result<Option<u64>, EndpointError> {
        /// The most rows looked at.
        const LOOKED_AT: usize = 1_000;
        let shared = &self.shared;
        let Some(store) = shared.store.as_deref() else {
            return Ok(None);
        };
        let rows = store.admin().pending(None, LOOKED_AT);
        let rows = within(&*shared.clock, shared.settings.call_limit, rows).await;
        let rows = rows.ok_or_else(|| {
            EndpointError::store("look for overdue timeouts: the store did not answer in time")
        })?;
        let now = shared.clock.now();
        let is_overdue = |row: &&PendingRow| {
            row.kind == PendingKind::Timeout && row.parked.is_none() && row.due.is_some_and(|due| due < now)
        };
        Ok(Some(rows?.iter().filter(is_overdue).count() as u64))
    }

    /// What the circuit breakers do, from now on.
    #[must_use]
    pub fn breakers(&self) -> watch::Receiver<Breakers> {
        self.shared.gates.watch()
    }

    /// Committed messages that are not yet at the broker, as far as this process knows.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.shared.queue.backlog(self.shared.clock.now())
    }
}

/// Why an endpoint could not be built, or stopped by itself. Reads after "failed to".
#[derive(Debug)]
pub struct EndpointError {
    kind: EndpointErrorKind,
    message: String,
}

/// What kind of error an endpoint met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointErrorKind {
    /// The endpoint is put together wrongly; the text lists every fault.
    Configuration,
    /// The broker.
    Transport,
    /// The store.
    Store,
    /// A message that can't be sent.
    Refused,
}

impl EndpointError {
    pub(crate) fn new(kind: EndpointErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn store(message: impl Into<String>) -> Self {
        Self::new(EndpointErrorKind::Store, message)
    }

    fn faults(name: &str, faults: &[String]) -> Self {
        let list: String = faults.iter().map(|fault| format!("\n  - {fault}")).collect();
        Self::new(
            EndpointErrorKind::Configuration,
            format!("build the endpoint {name:?}:{list}"),
        )
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> EndpointErrorKind {
        self.kind
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}", self.message)
    }
}

impl std::error::Error for EndpointError {}

impl From<crate::transport::TransportError> for EndpointError {
    fn from(error: crate::transport::TransportError) -> Self {
        Self::new(EndpointErrorKind::Transport, error.to_string())
    }
}

impl From<crate::store::StoreError> for EndpointError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::new(EndpointErrorKind::Store, error.to_string())
    }
}
