//! What a message is: a plain type with a stable name on the wire.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a message means to its receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// Asks one owner to do something; sent to one queue, by route.
    Command,
    /// Tells that something has happened; published to any number of subscribers.
    Event,
    /// Answers whoever asked.
    Reply,
    /// Reminds its own sender that a time has come.
    Timeout,
}

/// A message: a type with a wire name, made with `#[derive(Message)]`, `#[derive(Command)]` or `#[derive(Event)]`.
///
/// ```
/// use longhaul_core::message::Message;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(longhaul_core::Event, Serialize, Deserialize)]
/// #[message("sales.order_placed.v1")]
/// struct OrderPlaced { order: u64 }
///
/// assert_eq!(OrderPlaced::NAME, "sales.order_placed.v1");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "derive `Command`, `Event` or `Message` (a reply), with `Serialize` and `Deserialize`, and give it a wire name: \
            `#[derive(Command, Serialize, Deserialize)] #[message(\"sales.place_order.v1\")]`"
)]
pub trait Message: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name on the wire: explicit, stable, never a Rust path.
    const NAME: &'static str;
    /// What it means to its receivers.
    const KIND: MessageKind;
}

/// A message that asks one owner to do something. It is sent, never published.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a command, so it can't be sent",
    label = "not a command",
    note = "an event is published: `ctx.publish(…)`; a reply goes to whoever asked: `ctx.reply(…)`; \
            if it asks one owner to do something, derive `Command` on it"
)]
pub trait Command: Message {}

/// A message that tells what has happened. It is published, never sent.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event, so it can't be published",
    label = "not an event",
    note = "a command is sent to its one owner: `ctx.send(…)`; if it tells what has happened, derive `Event` on it"
)]
pub trait Event: Message {}
