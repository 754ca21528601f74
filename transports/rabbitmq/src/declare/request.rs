//! One request to the broker for each thing that a plan can hold.

use lapin::{
    Channel, ExchangeKind as AmqpKind,
    options::{
        ExchangeBindOptions, ExchangeDeclareOptions, ExchangeUnbindOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};

use crate::plan::{Argument, Arguments, Binding, Destination, Exchange, ExchangeKind, Queue};

/// Something that can be declared.
#[derive(Clone, Copy, Debug)]
pub(super) enum Object<'a> {
    Exchange(&'a Exchange),
    Queue(&'a Queue),
    Binding(&'a Binding),
}

impl Object<'_> {
    /// What it is, for people.
    pub(super) fn name(self) -> String {
        match self {
            Self::Exchange(exchange) => format!("the exchange `{}`", exchange.name),
            Self::Queue(queue) => format!("the queue `{}`", queue.name),
            Self::Binding(binding) => format!("a binding to the exchange `{}`", binding.source),
        }
    }

    /// Creates it, or checks that what exists is equal.
    pub(super) async fn declare(self, channel: &Channel) -> Result<(), lapin::Error> {
        match self {
            Self::Exchange(exchange) => declare_exchange(channel, exchange).await,
            Self::Queue(queue) => declare_queue(channel, queue).await,
            Self::Binding(binding) => bind(channel, binding).await,
        }
    }

    /// Checks that it exists, whatever its arguments. A binding can't be looked at.
    pub(super) async fn look(self, channel: &Channel) -> Result<(), lapin::Error> {
        match self {
            Self::Exchange(exchange) => passive_exchange(channel, exchange).await,
            Self::Queue(queue) => passive_queue(channel, &queue.name).await.map(drop),
            Self::Binding(_) => Ok(()),
        }
    }
}

fn short(name: &str) -> Result<ShortString, lapin::Error> {
    ShortString::try_new(name).map_err(|error| std::io::Error::other(error).into())
}

fn table(arguments: &Arguments) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, argument) in arguments {
        let value = match argument {
            Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Argument::Integer(number) => AMQPValue::LongLongInt(*number),
        };
        table.insert((*name).into(), value);
    }
    table
}

fn amqp_kind(kind: ExchangeKind) -> AmqpKind {
    match kind {
        ExchangeKind::Fanout => AmqpKind::Fanout,
        ExchangeKind::Topic => AmqpKind::Topic,
    }
}

async fn declare_exchange(channel: &Channel, exchange: &Exchange) -> Result<(), lapin::Error> {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let (name, arguments) = (short(&exchange.name)?, table(&exchange.arguments));
    channel
        .exchange_declare(name, amqp_kind(exchange.kind), options, arguments)
        .await
}

pub(super) async fn passive_exchange(channel: &Channel, exchange: &Exchange) -> Result<(), lapin::Error> {
    let options = ExchangeDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let (name, kind) = (short(&exchange.name)?, amqp_kind(exchange.kind));
    channel
        .exchange_declare(name, kind, options, FieldTable::default())
        .await
}

async fn declare_queue(channel: &Channel, queue: &Queue) -> Result<(), lapin::Error> {
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(short(&queue.name)?, options, table(&queue.arguments))
        .await
        .map(drop)
}

pub(super) async fn passive_queue(channel: &Channel, name: &str) -> Result<(u32, u32), lapin::Error> {
    let options = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let queue = channel
        .queue_declare(short(name)?, options, FieldTable::default())
        .await?;
    Ok((queue.message_count(), queue.consumer_count()))
}

async fn bind(channel: &Channel, binding: &Binding) -> Result<(), lapin::Error> {
    let (source, pattern) = (short(&binding.source)?, short(&binding.pattern)?);
    match &binding.destination {
        Destination::Queue(queue) => {
            let options = QueueBindOptions::default();
            channel
                .queue_bind(short(queue)?, source, pattern, options, FieldTable::default())
                .await
        }
        Destination::Exchange(exchange) => {
            let options = ExchangeBindOptions::default();
            channel
                .exchange_bind(short(exchange)?, source, pattern, options, FieldTable::default())
                .await
        }
    }
}

pub(super) async fn unbind(channel: &Channel, binding: &Binding) -> Result<(), lapin::Error> {
    let (source, pattern) = (short(&binding.source)?, short(&binding.pattern)?);
    match &binding.destination {
        Destination::Queue(queue) => {
            channel
                .queue_unbind(short(queue)?, source, pattern, FieldTable::default())
                .await
        }
        Destination::Exchange(exchange) => {
            let options = ExchangeUnbindOptions::default();
            channel
                .exchange_unbind(short(exchange)?, source, pattern, options, FieldTable::default())
                .await
        }
    }
}
