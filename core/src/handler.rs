//! Code that handles messages of one type: asynchronous, with side effects, without state of its own here.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::address::EndpointName;
use crate::clock::Timestamp;
use crate::codec::Codec;
use crate::envelope::{Envelope, Intent};
use crate::ids::{MessageId, derived_message_id};
use crate::message::{Command, Event, Message};
use crate::outbound::{Outbound, Outgoing};
use crate::reason::Reason;

/// Handles messages of type `M`, with whatever I/O that takes.
///
/// A handler may run more than once for one message (a crash, a retry): what it does outside must be repeatable, for
/// example by passing on [`Context::idempotency_key`]. What it sends through the context leaves only if its handling
/// commits, and then exactly once in effect.
///
/// ```
/// use longhaul_core::handler::{Context, Handler, HandlerResult};
/// use longhaul_core::{Command, Message};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Command, Serialize, Deserialize)]
/// #[message("billing.charge_card.v1")]
/// struct ChargeCard { cents: u64 }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[message("billing.card_charged.v1")]
/// struct CardCharged { cents: u64 }
///
/// struct CardGateway;
///
/// impl Handler<ChargeCard> for CardGateway {
///     async fn handle(&self, charge: ChargeCard, ctx: &mut Context) -> HandlerResult {
///         ctx.reply(CardCharged { cents: charge.cents });
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle `{M}`",
    label = "no `impl Handler<{M}>`",
    note = "write `impl Handler<{M}> for {Self} {{ async fn handle(&self, message: {M}, ctx: &mut Context) -> HandlerResult {{ … }} }}`"
)]
pub trait Handler<M: Message>: Send + Sync + 'static {
    /// The outside dependency that it calls, by any name: what `?` and [`HandlerError::transient`] tell of counts for the
    /// circuit breaker of that name. While the breaker is open the message waits, and no attempt is counted.
    fn depends_on(&self) -> Option<&str> {
        None
    }

    /// Handles one message.
    fn handle(&self, message: M, ctx: &mut Context) -> impl Future<Output = HandlerResult> + Send;

    /// Says what handling the message would come to, without doing anything outside: for a
    /// [rehearsal](crate::endpoint::Rehearsal). `None`, which is the default: there is no dry run, and nobody knows.
    fn dry_run(&self, message: M, ctx: &mut Context) -> impl Future<Output = Option<HandlerResult>> + Send {
        drop(message);
        let _ = ctx;
        std::future::ready(None)
    }
}

/// What handlers return.
pub type HandlerResult<T = ()> = Result<T, HandlerError>;

/// A message that is being handled, and what is known about it.
#[derive(Debug, Clone)]
pub struct Received {
    /// The message.
    pub envelope: Envelope,
    /// The wire name under which it is handled.
    pub type_name: String,
    /// What its sender wants.
    pub intent: Intent,
    /// The endpoint that handles it.
    pub endpoint: EndpointName,
    /// The time at which handling began.
    pub now: Timestamp,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Set when the message was put off because nothing took it, and won't be put off again.
    pub last_chance: bool,
    /// How long the endpoint remembers message ids, and finished things.
    pub retention: Duration,
    /// What bodies are read and written with.
    pub codec: Arc<dyn Codec>,
}

impl Received {
    /// Reads the body.
    ///
    /// # Errors
    /// Permanent, with the codec's reason.
    pub fn decode<M: serde::de::DeserializeOwned>(&self) -> HandlerResult<M> {
        crate::codec::decode(&*self.codec, &self.envelope.body)
            .map_err(|fault| HandlerError::unreadable(fault.reason(), fault.to_string()))
    }
}

/// What a handler can do besides its own work. Nothing leaves before the handling is committed.
#[derive(Debug)]
pub struct Context {
    received: Arc<Received>,
    outbound: Outbound,
}

impl Context {
    /// A context for one attempt to handle `received`.
    #[must_use]
    pub const fn new(received: Arc<Received>, outbound: Outbound) -> Self {
        Self { received, outbound }
    }

    /// Sends a command to its owner, by route.
    #[expect(clippy::needless_pass_by_value, reason = "sending gives the message away")]
    pub fn send<C: Command>(&mut self, command: C) -> &mut Outgoing {
        self.outbound.send(&command)
    }

    /// Publishes an event to its subscribers.
    #[expect(clippy::needless_pass_by_value, reason = "publishing gives the message away")]
    pub fn publish<E: Event>(&mut self, event: E) -> &mut Outgoing {
        self.outbound.publish(&event)
    }

    /// Replies to the sender of the message being handled.
    #[expect(clippy::needless_pass_by_value, reason = "replying gives the message away")]
    pub fn reply<M: Message>(&mut self, reply: M) -> &mut Outgoing {
        self.outbound.reply(&reply)
    }

    /// The id of the message being handled.
    #[must_use]
    pub fn message_id(&self) -> &MessageId {
        &self.received.envelope.id
    }

    /// A key that is the same for every attempt to handle this message, for third parties that take one.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}", self.received.endpoint, self.received.envelope.id)
    }

    /// A key like [`Context::idempotency_key`] for one of several calls, always 36 characters long: a UUID that follows from
    /// the endpoint, the message and `call`.
    #[must_use]
    pub fn idempotency_key_for(&self, call: &str) -> String {
        let parts = [
            "call",
            self.received.endpoint.as_str(),
            self.received.envelope.id.as_str(),
            call,
        ];
        derived_message_id(&parts, 0).as_str().to_owned()
    }

    /// A header of the message being handled.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.received.envelope.headers.get(name)
    }

    /// The message being handled.
    #[must_use]
    pub fn received(&self) -> &Received {
        &self.received
    }

    /// The time at which handling began.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.received.now
    }

    /// What was recorded.
    #[must_use]
    pub fn into_outbound(self) -> Outbound {
        self.outbound
    }
}

/// What an error means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Likely to pass: retried, no alarm before the retries are used up.
    Transient,
    /// Known to happen in this business: retried, counted, never an alarm.
    Expected,
    /// Not foreseen: retried, with an alarm.
    Unexpected,
    /// Trying again can't help: straight to the error queue.
    Permanent,
    /// The message can't be read: straight to the error queue.
    Unreadable,
}

impl ErrorClass {
    /// The word in headers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Expected => "expected",
            Self::Unexpected => "unexpected",
            Self::Permanent => "permanent",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Why a handler failed. Any error turns into one with `?` (class [`ErrorClass::Unexpected`]).
///
/// ```
/// use longhaul_core::handler::{ErrorClass, HandlerError, HandlerResult};
/// fn parse(text: &str) -> HandlerResult<u64> {
///     Ok(text.parse::<u64>()?)
/// }
/// assert_eq!(parse("x").unwrap_err().class(), ErrorClass::Unexpected);
/// assert_eq!(HandlerError::permanent("no such card").class(), ErrorClass::Permanent);
/// ```
pub struct HandlerError {
    class: ErrorClass,
    reason: Reason,
    text: String,
    chain: Vec<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The most causes of an error that are looked at.
const MOST_CAUSES: usize = 16;

impl HandlerError {
    fn of(class: ErrorClass, reason: Reason, text: impl fmt::Display) -> Self {
        Self {
            class,
            reason,
            text: text.to_string(),
            chain: Vec::new(),
            source: None,
        }
    }

    /// Likely to pass.
    pub fn transient(text: impl fmt::Display) -> Self {
        Self::of(ErrorClass::Transient, Reason::HandlerFailed, text)
    }

    /// Known to happen in this business.
    pub fn expected(text: impl fmt::Display) -> Self {
        Self::of(ErrorClass::Expected, Reason::HandlerFailed, text)
    }

    /// Not foreseen.
    pub fn unexpected(text: impl fmt::Display) -> Self {
        Self::of(ErrorClass::Unexpected, Reason::HandlerFailed, text)
    }

    /// Trying again can't help.
    pub fn permanent(text: impl fmt::Display) -> Self {
        Self::of(ErrorClass::Permanent, Reason::HandlerFailed, text)
    }

    /// The message can't be read.
    pub fn unreadable(reason: Reason, text: impl fmt::Display) -> Self {
        Self::of(ErrorClass::Unreadable, reason, text)
    }

    /// With another reason.
    #[must_use]
    pub fn with_reason(mut self, reason: Reason) -> Self {
        self.reason = reason;
        self
    }

    /// With another class: `HandlerError::from(error).with_class(ErrorClass::Transient)` keeps the error and its causes.
    #[must_use]
    pub const fn with_class(mut self, class: ErrorClass) -> Self {
        self.class = class;
        self
    }

    fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The `E` that it came of by `?`: the error itself or one of its causes.
    #[must_use]
    pub fn cause<E: std::error::Error + 'static>(&self) -> Option<&E> {
        let first: &(dyn std::error::Error + 'static) = self.source.as_deref()?;
        std::iter::successors(Some(first), |cause| cause.source())
            .take(MOST_CAUSES)
            .find_map(|cause| cause.downcast_ref())
    }

    /// What it means for the next attempt.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        self.class
    }

    /// The word for programs.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The texts of the causes, outermost first.
    #[must_use]
    pub fn chain(&self) -> &[String] {
        &self.chain
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let first = error.source();
        let chain = std::iter::successors(first, |cause| cause.source())
            .take(MOST_CAUSES)
            .map(ToString::to_string);
        let chain = chain.collect();
        Self {
            chain,
            ..Self::unexpected(&error)
        }
        .with_source(error)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.text, self.class.as_str(), self.reason)
    }
}
