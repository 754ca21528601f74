//! What is to exist on the broker, as plain data: exchanges, queues, their arguments and bindings.
//!
//! Nothing here talks to a broker. Whoever wants to know what an endpoint or the delay levels declare reads it here,
//! and the tests compare it with what the broker reports.

use std::fmt;

/// An argument of an exchange or a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Argument {
    /// A text.
    Text(String),
    /// A 64-bit number: times to live of the upper delay levels need more than 32 bits.
    Integer(i64),
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
        }
    }
}

/// Arguments by name, in a fixed order.
pub type Arguments = Vec<(&'static str, Argument)>;

/// How an exchange picks the queues that a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExchangeKind {
    /// To every queue that is bound.
    Fanout,
    /// To the queues whose pattern matches the routing key, word by word.
    Topic,
}

/// A durable exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// How it routes.
    pub kind: ExchangeKind,
    /// Its arguments.
    pub arguments: Arguments,
}

/// A durable quorum queue: not exclusive, not deleted when unused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its arguments, the queue type among them.
    pub arguments: Arguments,
}

/// What a binding leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// A queue, by name.
    Queue(String),
    /// An exchange, by name.
    Exchange(String),
}

/// A binding from an exchange to a queue or to another exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The exchange that routes.
    pub source: String,
    /// Where it routes to.
    pub destination: Destination,
    /// The pattern, for topic exchanges; empty for fanout.
    pub pattern: String,
}

/// A set of objects in the order in which they can be declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Exchanges first.
    pub exchanges: Vec<Exchange>,
    /// Then queues.
    pub queues: Vec<Queue>,
    /// Then what binds them.
    pub bindings: Vec<Binding>,
}

pub(crate) fn text(value: impl Into<String>) -> Argument {
    Argument::Text(value.into())
}

/// A durable exchange without arguments.
pub(crate) fn exchange(name: impl Into<String>, kind: ExchangeKind) -> Exchange {
    Exchange {
        name: name.into(),
        kind,
        arguments: Vec::new(),
    }
}

/// A quorum queue with these arguments besides its type.
pub(crate) fn quorum_queue(name: impl Into<String>, arguments: Arguments) -> Queue {
    let mut all = vec![("x-queue-type", text("quorum"))];
    all.extend(arguments);
    Queue {
        name: name.into(),
        arguments: all,
    }
}

pub(crate) fn bind_queue(
    queue: impl Into<String>,
    source: impl Into<String>,
    pattern: impl Into<String>,
) -> Binding {
    Binding {
        source: source.into(),
        destination: Destination::Queue(queue.into()),
        pattern: pattern.into(),
    }
}

pub(crate) fn bind_exchange(
    destination: impl Into<String>,
    source: impl Into<String>,
    pattern: impl Into<String>,
) -> Binding {
    Binding {
        source: source.into(),
        destination: Destination::Exchange(destination.into()),
        pattern: pattern.into(),
    }
}
