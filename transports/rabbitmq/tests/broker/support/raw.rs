//! The broker without the transport: what an operator or a foreign program would do.

use std::{collections::BTreeMap, time::Duration};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicGetOptions, BasicPublishOptions, ExchangeDeleteOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};

use tokio::time::Instant;

use super::{until, url};

/// A plain connection.
pub(crate) struct Raw {
    pub(crate) connection: Connection,
    pub(crate) channel: Channel,
}

impl Raw {
    pub(crate) async fn connect() -> Self {
        let connection = Connection::connect(&url(), ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self { connection, channel }
    }

    pub(crate) async fn delete_queue(&self, name: &str) {
        self.channel
            .queue_delete(name.into(), QueueDeleteOptions::default())
            .await
            .unwrap();
    }

    pub(crate) async fn delete_exchange(&self, name: &str) {
        self.channel
            .exchange_delete(name.into(), ExchangeDeleteOptions::default())
            .await
            .unwrap();
    }

    /// Declares what should be a delay level already; the broker refuses it unless it is equal.
    pub(crate) async fn declare_level(
        &self,
        name: &str,
        time_to_live: i64,
        next: &str,
    ) -> Result<(), lapin::Error> {
        let text = |value: &str| AMQPValue::LongString(value.into());
        let arguments = [
            ("x-queue-type", text("quorum")),
            ("x-message-ttl", AMQPValue::LongLongInt(time_to_live)),
            ("x-dead-letter-exchange", text(next)),
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-overflow", text("reject-publish")),
        ];
        self.declare(name, &arguments).await
    }

    pub(crate) async fn declare(
        &self,
        name: &str,
        arguments: &[(&str, AMQPValue)],
    ) -> Result<(), lapin::Error> {
        let arguments: BTreeMap<_, _> = arguments
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect();
        let options = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let channel = self.connection.create_channel().await.unwrap();
        channel
            .queue_declare(name.into(), options, FieldTable::from(arguments))
            .await
            .map(drop)
    }

    /// How many messages and consumers a queue has; `None` where it is not there.
    pub(crate) async fn look(&self, name: &str) -> Option<(u32, u32)> {
        let channel = self.connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        loop {
            let asked = Instant::now();
            let queue = channel
                .queue_declare(name.into(), options, FieldTable::default())
                .await
                .ok()?;
            let found = (queue.message_count(), queue.consumer_count());
            // The broker answers for a queue that does not within 250 ms.
            if found != (0, 0) || asked.elapsed() < Duration::from_millis(250) {
                return Some(found);
            }
        }
    }

    /// Waits until a queue has so many messages and consumers.
    pub(crate) async fn becomes(&self, name: &str, messages_and_consumers: (u32, u32)) {
        let what = format!("{messages_and_consumers:?} in {name}");
        until(&what, async || {
            (self.look(name).await == Some(messages_and_consumers)).then_some(())
        })
        .await;
    }

    pub(crate) async fn publish(&self, queue: &str, body: &[u8], properties: BasicProperties) {
        let publish = self.channel.basic_publish(
            "".into(),
            queue.into(),
            BasicPublishOptions::default(),
            body,
            properties,
        );
        publish.await.unwrap().await.unwrap();
    }

    /// Takes one message, if there is one.
    pub(crate) async fn get(&self, queue: &str) -> Option<lapin::message::Delivery> {
        let got = self
            .channel
            .basic_get(queue.into(), BasicGetOptions::default())
            .await
            .unwrap()?;
        got.delivery.ack(BasicAckOptions::default()).await.unwrap();
        Some(got.delivery)
    }
}
