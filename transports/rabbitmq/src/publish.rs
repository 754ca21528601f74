//! Publishing: one task owns the channel; everybody else hands it batches.
//!
//! Confirmations must not be trusted when two tasks publish on one channel, nor one by one: lapin then attributes them
//! to the wrong message. So there is one publisher that can't be cloned, it works in windows, and nothing is reported
//! before the whole window is confirmed and all that came back is matched by message id.

mod outcome;
mod session;
mod task;
mod window;

use bytes::Bytes;
use lapin::BasicProperties;
use longhaul_core::{
    ids::MessageId,
    transport::{Accepted, TransportError, TransportErrorKind},
};
use tokio::sync::{mpsc, oneshot};

pub use task::Refusing;
pub(crate) use task::{Settings, start};

/// How many messages are on their way at a time.
pub(crate) const WINDOW_MESSAGES: usize = 1024;
/// How many bytes of bodies are on their way at a time.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// How many batches may wait for the publisher.
const BATCHES: usize = 256;

/// A message in AMQP's form.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: MessageId,
    pub(crate) to: Route,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

/// Which way a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    /// Straight to a queue.
    Queue(String),
    /// To the subscribers of an event.
    Event(String),
    /// Through the delay levels to a queue.
    Delayed {
        exchange: String,
        routing_key: String,
        address: String,
    },
}

impl Route {
    /// The exchange and the routing key.
    fn parts(&self) -> (&str, &str) {
        match self {
            Self::Queue(queue) => ("", queue),
            Self::Event(exchange) => (exchange, ""),
            Self::Delayed {
                exchange,
                routing_key,
                ..
            } => (exchange, routing_key),
        }
    }

    /// The name to show.
    fn name(&self) -> &str {
        match self {
            Self::Queue(queue) => queue,
            Self::Event(exchange) => exchange,
            Self::Delayed { address, .. } => address,
        }
    }
}

pub(crate) type Outcome = Result<Accepted, TransportError>;

/// Messages to publish in order, and who waits for the outcome.
struct Batch {
    messages: Vec<Outgoing>,
    reply: oneshot::Sender<Vec<Outcome>>,
}

impl Batch {
    fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.body.len()).sum()
    }

    /// Answers every message with the same error.
    fn refuse(self, error: impl Fn() -> TransportError) {
        let outcomes = self.messages.iter().map(|_| Err(error())).collect();
        self.answer(outcomes);
    }

    fn answer(self, outcomes: Vec<Outcome>) {
        // Whoever gave up waiting has lost nothing but the answer.
        drop(self.reply.send(outcomes));
    }
}

/// How many of the messages one batch takes: at least one, and no more than the window holds.
fn fits(messages: &[Outgoing]) -> usize {
    let mut bytes = 0;
    let within = messages.iter().take_while(|message| {
        bytes += message.body.len();
        bytes <= WINDOW_BYTES
    });
    within.count().clamp(1, WINDOW_MESSAGES)
}

/// Hands batches to the publisher task. The task ends when the last of these is gone.
#[derive(Clone, Debug)]
pub(crate) struct Publisher(mpsc::Sender<Batch>);

impl Publisher {
    /// Publishes messages in order; the outcomes are in the same order.
    pub(crate) async fn publish(&self, mut messages: Vec<Outgoing>) -> Vec<Outcome> {
        let mut waiting = Vec::new();
        while !messages.is_empty() {
            let rest = messages.split_off(fits(&messages));
            let count = messages.len();
            let (reply, answer) = oneshot::channel();
            let batch = Batch {
                messages: std::mem::replace(&mut messages, rest),
                reply,
            };
            // A batch that could not be handed over is dropped with its reply.
            drop(self.0.send(batch).await);
            waiting.push((count, answer));
        }
        let mut outcomes = Vec::new();
        for (count, answer) in waiting {
            match answer.await {
                Ok(answered) => outcomes.extend(answered),
                Err(_) => outcomes.extend((0..count).map(|_| Err(closed()))),
            }
        }
        outcomes
    }
}

fn closed() -> TransportError {
    TransportError::new(
        TransportErrorKind::Closed,
        "publish: the transport was closed; connect a new one",
    )
}
