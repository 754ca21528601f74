//! What a saga can do besides changing its state: recorded as plain data, in effect when the message is committed.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use longhaul_core::clock::Timestamp;
use longhaul_core::codec::Codec;
use longhaul_core::envelope::Intent;
use longhaul_core::handler::Received;
use longhaul_core::headers::{self, Headers};
use longhaul_core::ids::MessageId;
use longhaul_core::message::{Command, Event, Message};
use longhaul_core::outbound::{Outbound, Outgoing};
use longhaul_core::reason::Reason;

use crate::correlation::Identity;
use crate::known::Known;
use crate::ledger::Ledger;
use crate::saga::Saga;
use crate::sending::Sending;
use crate::stored::{Purpose, StoredOrigin};
use crate::timeout::{TimeoutId, When, name_of};
use crate::turn::Turn;

/// What a saga can do while it handles a message. Nothing leaves before the handling is committed.
///
/// ```
/// # use std::time::Duration;
/// # use longhaul_core::handler::HandlerResult;
/// # use longhaul_core::{Command, Message};
/// # use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Command, Serialize, Deserialize)]
/// #[message("billing.charge_card.v1")]
/// struct ChargeCard { order: u64 }
///
/// #[derive(Command, Serialize, Deserialize)]
/// #[message("billing.refund_card.v1")]
/// struct RefundCard { order: u64 }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[message("billing.card_charged.v1")]
/// struct CardCharged { order: u64 }
///
/// # #[derive(Serialize, Deserialize)]
/// # struct Order { order: u64 }
/// # impl Saga for Order {
/// #     const NAME: &'static str = "order";
/// #     type Id = u64;
/// #     type Timeout = NoTimeout;
/// #     fn define(_: &mut Definition<Self>) {}
/// # }
/// # impl Order {
/// fn charge(&mut self, ctx: &mut SagaContext<Self>) {
///     ctx.send(ChargeCard { order: self.order })
///         .undo_with(RefundCard { order: self.order })
///         .done_by::<CardCharged>();
/// }
/// # }
/// ```
pub struct SagaContext<S: Saga> {
    pub(crate) identity: Identity,
    pub(crate) ledger: Ledger,
    pub(crate) turn: Turn,
    pub(crate) origin: StoredOrigin,
    pub(crate) finished: bool,
    message: MessageId,
    headers: Headers,
    intent: Intent,
    codec: Arc<dyn Codec>,
    known: Arc<Known>,
    saga: PhantomData<fn() -> S>,
}

impl<S: Saga> SagaContext<S> {
    pub(crate) fn new(
        received: &Received,
        outbound: Outbound,
        identity: Identity,
        known: &Arc<Known>,
        origin: StoredOrigin,
        ledger: Ledger,
    ) -> Self {
        Self {
            turn: Turn::new(received.now, outbound, &identity),
            identity,
            ledger,
            origin,
            finished: false,
            message: received.envelope.id.clone(),
            headers: received.envelope.headers.clone(),
            intent: received.intent,
            codec: Arc::clone(&received.codec),
            known: Arc::clone(known),
            saga: PhantomData,
        }
    }

    /// Sends a command to its owner, by route. The command can be refined, and its undo named: see [`Sending`].
    #[expect(clippy::needless_pass_by_value, reason = "sending gives the message away")]
    pub fn send<C: Command>(&mut self, command: C) -> Sending<'_> {
        let turn = &mut self.turn;
        let outgoing = turn.outbound.send(&command);
        outgoing.parts.clone_from(&turn.sender);
        Sending {
            outgoing,
            ledger: &mut self.ledger,
            codec: &*self.codec,
            fault: &mut turn.fault,
            known: &self.known,
            now: turn.now,
            closed: self.finished,
        }
    }

    /// Publishes an event to its subscribers.
    #[expect(clippy::needless_pass_by_value, reason = "publishing gives the message away")]
    pub fn publish<E: Event>(&mut self, event: E) -> &mut Outgoing {
        let outgoing = self.turn.outbound.publish(&event);
        outgoing.parts.clone_from(&self.turn.sender);
        outgoing
    }

    /// Replies to the sender of the message being handled.
    #[expect(clippy::needless_pass_by_value, reason = "replying gives the message away")]
    pub fn reply<M: Message>(&mut self, reply: M) -> &mut Outgoing {
        if self.intent == Intent::Timeout {
            let text = format!(
                "reply with {}: nobody asked, a timeout fired; use `ctx.reply_to_originator`",
                M::NAME
            );
            self.turn.fail(Reason::Unsendable, text);
        }
        let outgoing = self.turn.outbound.reply(&reply);
        outgoing.parts.clone_from(&self.turn.sender);
        outgoing
    }

    /// Replies to the sender of the message that started this instance, as the answer to that message.
    ///
    /// Where that message did not say where replies go, the handling fails.
    #[expect(clippy::needless_pass_by_value, reason = "replying gives the message away")]
    pub fn reply_to_originator<M: Message>(&mut self, reply: M) -> &mut Outgoing {
        if self.origin.reply_to.is_none() {
            let text = format!(
                "reply with {} to whoever started the saga: the starting message did not say where replies go; \
                 publish an event instead",
                M::NAME
            );
            self.turn.fail(Reason::Unsendable, text);
        }
        let outgoing = self.turn.outbound.reply(&reply);
        outgoing.parts.clone_from(&self.turn.sender);
        for (part, value) in self.origin.part.iter() {
            outgoing
                .parts
                .set(format!("{}{part}", headers::TARGET_PREFIX), value);
        }
        outgoing.to.clone_from(&self.origin.reply_to);
        outgoing.correlates_with(self.identity.incarnation.clone())
    }

    /// Asks for a timeout: `timeout` comes back to this instance at that time, never earlier. There may be any number.
    ///
    /// The id cancels or moves it; keep it in the state for that.
    #[expect(clippy::needless_pass_by_value, reason = "requesting gives the timeout away")]
    pub fn request_timeout(&mut self, when: impl When, timeout: S::Timeout) -> TimeoutId {
        let due = when.delay().due(self.turn.now);
        let body = self.turn.outbound.encode(&timeout);
        let name = name_of(&timeout);
        TimeoutId(
            self.ledger
                .request_timeout(&mut self.turn, Purpose::Own, name, body, due),
        )
    }

    /// Cancels a timeout. Returns whether it was outstanding.
    pub fn cancel_timeout(&mut self, timeout: &TimeoutId) -> bool {
        self.ledger.cancel_timeout(&mut self.turn, &timeout.0)
    }

    /// Gives a timeout another time. Returns whether it was outstanding.
    pub fn move_timeout(&mut self, timeout: &TimeoutId, when: impl When) -> bool {
        let due = when.delay().due(self.turn.now);
        self.ledger.move_timeout(&mut self.turn, &timeout.0, due)
    }

    /// Finishes the instance: its timeouts are cancelled, its state goes, and its outcome stays for as long as the endpoint
    /// remembers messages.
    ///
    /// While steps are not answered it stays active, and finishes with the last answer, unless it is compensated before.
    /// While compensating this changes nothing.
    pub fn complete(&mut self) {
        self.ledger.completing = !self.ledger.is_compensating();
    }

    /// Undoes what was done, in reverse order: see [`Sending::undo_with`]. While compensating this changes nothing.
    pub fn compensate(&mut self, reason: impl fmt::Display) {
        self.ledger.begin_compensation(self.turn.now, reason.to_string());
    }

    /// Whether what was done is being undone.
    #[must_use]
    pub fn is_compensating(&self) -> bool {
        self.ledger.is_compensating()
    }

    /// Why it is being undone.
    #[must_use]
    pub fn compensation_reason(&self) -> Option<&str> {
        self.ledger
            .compensation
            .as_ref()
            .map(|compensation| compensation.reason.as_str())
    }

    /// The time at which handling began.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.turn.now
    }

    /// The id of the instance, as a text.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.identity.key
    }

    /// The id of the message being handled.
    #[must_use]
    pub const fn message_id(&self) -> &MessageId {
        &self.message
    }

    /// A header of the message being handled.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }
}

impl<S: Saga> fmt::Debug for SagaContext<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaContext")
            .field("saga", &S::NAME)
            .field("id", &self.identity.key)
            .field("incarnation", &self.identity.incarnation)
            .field("message", &self.message)
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}
