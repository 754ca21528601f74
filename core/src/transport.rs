//! The broker's seam: what a transport promises, and the plain data that goes in and out.
//!
//! Every guarantee written here has a case in the contract suite of `longhaul-testing`, which every transport runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::address::Address;
use crate::clock::Timestamp;
use crate::envelope::{Envelope, Incoming};

/// The broker adapter. Object safe; every call has a time limit of its own.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// What this transport can do. Constant for its lifetime.
    fn capabilities(&self) -> Capabilities;

    /// Whether the message can be sent at all, as far as that can be told here and now: its size above all. Asked before
    /// the message is committed. Its due time is not looked at, since what is far ahead may wait elsewhere.
    ///
    /// # Errors
    /// [`TransportErrorKind::Invalid`] or [`TransportErrorKind::Configuration`]: `dispatch` would say the same.
    fn check(&self, dispatch: &Dispatch) -> Result<(), TransportError> {
        let _ = dispatch;
        Ok(())
    }

    /// Creates, checks or assumes what `topology` names. Idempotent, and safe from several processes at once.
    ///
    /// # Errors
    /// [`TransportErrorKind::Topology`] where something exists otherwise than asked for, or is missing when verified.
    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError>;

    /// Begins to consume `source`, which must have been prepared.
    ///
    /// # Errors
    /// The queue does not exist, has another consumer where `options.exclusive` is set, or the broker can't be reached.
    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError>;

    /// Hands messages to the broker: one result per entry, in the order of `batch`.
    ///
    /// `Ok` means that the broker has that very message durably (as durable as the transport is), or that an event has
    /// no subscribers. An error of kind [`TransportErrorKind::Unknown`] may or may not have been taken: send it again
    /// under the same id. A broker may take two [copies](crate::ordering::copy) that are alike for one. Entries for one
    /// queue without a due time arrive in the order given, failures aside. A due time is never early. Dropping the future
    /// gives up the answers, not necessarily the sends.
    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>>;

    /// Whether the broker can be reached, and may be published to.
    fn health(&self) -> watch::Receiver<Health>;
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn check(&self, dispatch: &Dispatch) -> Result<(), TransportError> {
        (**self).check(dispatch)
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        (**self).prepare(topology, mode).await
    }

    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        (**self).receiver(source, options).await
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        (**self).dispatch(batch).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        (**self).health()
    }
}

/// Takes messages from one queue.
///
/// `receive` is cancel-safe: dropping its future loses nothing. It reconnects by itself, for as long as it takes.
#[async_trait]
pub trait Receiver: fmt::Debug + Send {
    /// The next message; messages that nobody settles within the prefetch limit hold it up.
    ///
    /// # Errors
    /// Only what won't mend by itself: the queue is gone, access was refused, the transport was closed.
    async fn receive(&mut self) -> Result<Delivery, TransportError>;

    /// Stops taking, releases what was taken and not handed out, and waits (bounded) for the broker.
    ///
    /// # Errors
    /// The broker did not answer in time; what was taken comes back by itself.
    async fn close(self: Box<Self>) -> Result<(), TransportError>;
}

/// One message, and the right to settle it once. Dropped unsettled, it comes back.
#[must_use = "a delivery that is dropped unsettled comes back"]
pub struct Delivery {
    /// The message as it came.
    pub incoming: Incoming,
    /// How often the broker says it was delivered before: a hint only.
    pub redeliveries: u32,
    settle: Box<dyn Settle>,
}

impl Delivery {
    /// A delivery that a transport hands out.
    pub fn new(incoming: Incoming, redeliveries: u32, settle: Box<dyn Settle>) -> Self {
        Self {
            incoming,
            redeliveries,
            settle,
        }
    }

    /// Splits it into the message and the right to settle it.
    pub fn into_parts(self) -> (Incoming, Settlement) {
        (self.incoming, Settlement(self.settle))
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("redeliveries", &self.redeliveries)
            .finish_non_exhaustive()
    }
}

/// The right to settle one message, once.
#[must_use = "a delivery that is dropped unsettled comes back"]
pub struct Settlement(Box<dyn Settle>);

impl Settlement {
    /// Wraps a transport's own way to settle.
    pub fn new(settle: Box<dyn Settle>) -> Self {
        Self(settle)
    }

    /// The message is done with: the broker forgets it.
    ///
    /// # Errors
    /// The transport failed; the message may come back.
    pub async fn acknowledge(self) -> Result<Settled, TransportError> {
        self.0.acknowledge().await
    }

    /// The message goes back to its queue and comes again, not before `after` has passed in the broker's time: a clock of
    /// the endpoint's that runs faster does not shorten it.
    ///
    /// # Errors
    /// The transport failed; the message comes back by itself.
    pub async fn release(self, after: Duration) -> Result<Settled, TransportError> {
        self.0.release(after).await
    }

    /// Resolves when the right to settle is lost (the channel died, the lease ran out) and somebody else may have the message.
    pub fn lease_lost(&self) -> BoxFuture<'static, ()> {
        self.0.lease_lost()
    }
}

impl fmt::Debug for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settlement(..)")
    }
}

/// A transport's way to settle one message. Settling consumes it, so that twice is a compile error.
///
/// An acknowledgement applies only to the connection that delivered the message: after a reconnection it is
/// [`Settled::Lost`], never somebody else's message. It need not wait for the broker.
#[async_trait]
pub trait Settle: Send + Sync {
    /// See [`Settlement::acknowledge`].
    async fn acknowledge(self: Box<Self>) -> Result<Settled, TransportError>;
    /// See [`Settlement::release`].
    async fn release(self: Box<Self>, after: Duration) -> Result<Settled, TransportError>;
    /// See [`Settlement::lease_lost`].
    fn lease_lost(&self) -> BoxFuture<'static, ()>;
}

/// What became of settling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The broker was told.
    Done,
    /// The right was gone; the message comes back.
    Lost,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Destination {
    /// To one queue.
    Queue(Address),
    /// To every queue that subscribed to the event of this wire name.
    Subscribers(String),
}

/// A message to hand to the broker.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The message.
    pub envelope: Envelope,
    /// Where it goes.
    pub to: Destination,
    /// Not before this time; `None` or a time already passed means now. At most
    /// [`Capabilities::max_delay_storeless`] ahead, and to a queue.
    pub due: Option<Timestamp>,
}

/// The broker has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// In at least one queue.
    Queued,
    /// An event that nobody subscribed to.
    NoSubscribers,
}

/// What a transport can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// For logs: `local`, `rabbitmq`, …
    pub name: &'static str,
    /// The longest delay that the broker keeps by itself. Longer ones wait in the store of an endpoint that has one.
    pub max_delay: Duration,
    /// The longest delay that is taken at all, for endpoints without a store; [`Capabilities::max_delay`] or longer, if
    /// the transport has a way to go on with messages that the broker keeps too short. That way costs more.
    pub max_delay_storeless: Duration,
    /// The largest body in bytes.
    pub max_body: usize,
    /// The largest batch that [`Transport::dispatch`] takes at once.
    pub max_batch: usize,
    /// Whether accepted messages survive the end of this process and of the broker's.
    pub durable: bool,
}

/// What an endpoint needs at the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// Queues to consume.
    pub queues: Vec<Address>,
    /// Queues that keep what failed.
    pub error_queues: Vec<Address>,
    /// Which queue subscribes to which event.
    pub subscriptions: Vec<Subscription>,
    /// Subscriptions of an earlier version, to be removed.
    pub retired: Vec<Subscription>,
    /// Whether delayed messages are sent.
    pub delays: bool,
}

/// A queue that wants an event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Subscription {
    /// The wire name of the event.
    pub event: String,
    /// Who gets it.
    pub queue: Address,
}

/// What [`Transport::prepare`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Declare {
    /// Create what is missing.
    #[default]
    Declare,
    /// Check, create nothing.
    Verify,
    /// Do nothing.
    Assume,
}

/// What was found and done, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What was made sure to exist.
    pub present: Vec<String>,
    /// What can't be checked over this protocol.
    pub unverified: Vec<String>,
}

/// How to consume a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// The most messages taken and not yet settled.
    pub prefetch: u16,
    /// Refuse to start where somebody else consumes the queue (state that one process owns).
    pub exclusive: bool,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self {
            prefetch: 256,
            exclusive: false,
        }
    }
}

/// Whether the broker can be used right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Connected,
    /// It takes nothing for now; the text says why.
    Blocked(String),
    /// It can't be reached; the text says why.
    Disconnected(String),
}

/// A transport's error. Reads after "failed to".
#[derive(Debug)]
pub struct TransportError {
    kind: TransportErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of error a transport met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// No queue of that name.
    Unroutable,
    /// The broker said no to this message for now (full, nacked).
    Rejected,
    /// The outcome is unknown: no answer in time, or the connection was lost.
    Unknown,
    /// The message can never be sent: too large, a delay out of range.
    Invalid,
    /// The broker can't be reached.
    Disconnected,
    /// Queues, exchanges or bindings are missing or different.
    Topology,
    /// Another consumer has the queue.
    InUse,
    /// Access was refused.
    Denied,
    /// Configuration that can't work.
    Configuration,
    /// The transport was closed, or failed for good.
    Closed,
}

impl TransportError {
    /// An error with a text that reads after "failed to", names the thing and ends with what to do.
    pub fn new(kind: TransportErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            TransportErrorKind::Unroutable
                | TransportErrorKind::Rejected
                | TransportErrorKind::Unknown
                | TransportErrorKind::Disconnected
        )
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_seams_are_used_as_objects_it_compiles() {
        const fn _object_safe(_: &dyn Transport, _: &dyn Receiver, _: &dyn Settle) {}
    }
}
