//! What can be done about a message whose instance is finished or does not exist.

use longhaul_core::clock::Timestamp;
use longhaul_core::handler::Received;
use longhaul_core::ids::MessageId;
use longhaul_core::message::{Command, Event, Message};
use longhaul_core::outbound::{Outbound, Outgoing};

use crate::status::Outcome;

/// What a `not_found` function can do: there is no state. Nothing leaves before the handling is committed.
///
/// ```
/// # use longhaul_core::handler::HandlerResult;
/// # use longhaul_core::{Command, Event, Message};
/// # use longhaul_sagas::{Definition, NotFoundContext, NoTimeout, Outcome, Saga, SagaContext};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[message("sales.order_placed.v1")]
/// # struct OrderPlaced { order: u64 }
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[message("sales.cancel_order.v1")]
/// # struct CancelOrder { order: u64 }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[message("sales.order_not_cancelled.v1")]
/// # struct OrderNotCancelled { is_shipped: bool }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[message("billing.card_charged.v1")]
/// # struct CardCharged;
/// # #[derive(Serialize, Deserialize)]
/// # struct Order;
/// # impl Order {
/// fn on_cancel_too_late(_: CancelOrder, ctx: &mut NotFoundContext<'_>) -> HandlerResult {
///     ctx.reply(OrderNotCancelled { is_shipped: ctx.outcome() == Some(Outcome::Completed) });
///     Ok(())
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct NotFoundContext<'a> {
    pub(crate) received: &'a Received,
    pub(crate) outbound: Outbound,
    pub(crate) id: Option<String>,
    pub(crate) outcome: Option<Outcome>,
}

impl NotFoundContext<'_> {
    /// How the instance ended; `None` where there was none, or none that is remembered.
    #[must_use]
    pub const fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// The id of the instance that the message is for, as a text.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
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

    /// Replies to the sender of the message.
    #[expect(clippy::needless_pass_by_value, reason = "replying gives the message away")]
    pub fn reply<M: Message>(&mut self, reply: M) -> &mut Outgoing {
        self.outbound.reply(&reply)
    }

    /// The time at which handling began.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.received.now
    }

    /// The id of the message.
    #[must_use]
    pub const fn message_id(&self) -> &MessageId {
        &self.received.envelope.id
    }

    /// A header of the message.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.received.envelope.headers.get(name)
    }
}
