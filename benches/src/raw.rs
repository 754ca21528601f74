//! The other side: a hand-written lapin loop that moves the same seven messages an order on quorum queues, with
//! pipelined confirms and acknowledgements in ranges, and keeps its state in a map. No inbox, no outbox, nothing durable
//! but the messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesOrdered;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde::{Deserialize, Serialize};

use crate::orders::note;
use crate::report::{Report, Side, Stopwatch};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) order: u64,
    pub(crate) cents: u64,
    pub(crate) note: String,
}

/// The queues of the four roles.
pub(crate) const ROLES: [&str; 4] = ["sales", "billing", "warehouse", "shipping"];
pub(crate) const UNDER_WAY: u64 = 2_000;
const PREFETCH: u16 = 512;
/// Acknowledge at the latest after so many.
const RANGE: usize = 64;

pub(crate) async fn run(url: &str, orders: u64, rate: Option<u64>) -> Result<Report> {
    let prefix = format!("raw{}", std::process::id());
    let consuming = Connection::connect(url, ConnectionProperties::default()).await?;
    let publishing = Connection::connect(url, ConnectionProperties::default()).await?;
    let setup = publishing.create_channel().await?;
    for role in ROLES {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        setup
            .queue_declare(format!("{prefix}.{role}").as_str().into(), options, arguments)
            .await?;
    }
    let stopwatch = Arc::new(Stopwatch::new()?);
    let mut roles = Vec::new();
    for role in ROLES {
        let consumer = consuming.create_channel().await?;
        consumer.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let publisher = confirming(&publishing).await?;
        let (prefix, stopwatch) = (prefix.clone(), Arc::clone(&stopwatch));
        roles.push(tokio::spawn(async move {
            play(role, &prefix, &consumer, &publisher, &stopwatch).await
        }));
    }
    let client = confirming(&publishing).await?;
    place(&client, &prefix, &stopwatch, orders, rate).await?;
    stopwatch.wait(orders).await?;
    let report = stopwatch.report(Side::Raw, orders);
    for role in roles {
        role.abort();
    }
    // A consumer that is dropped cancels itself, and lapin takes the answer to that for an error of the connection.
    drop(consuming.close(200, "done".into()).await);
    for role in ROLES {
        setup
            .queue_delete(
                format!("{prefix}.{role}").as_str().into(),
                QueueDeleteOptions::default(),
            )
            .await?;
    }
    Ok(report)
}

async fn confirming(connection: &Connection) -> Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

async fn publish(channel: &Channel, queue: &str, kind: &str, body: &Body) -> Result<lapin::PublisherConfirm> {
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_message_id(format!("{}-{kind}", body.order).as_str().into())
        .with_type(kind.into());
    let bytes = serde_json::to_vec(body)?;
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    Ok(channel
        .basic_publish("".into(), queue.into(), options, &bytes, properties)
        .await?)
}

/// One role: takes a message, publishes what follows, and acknowledges in ranges once the broker has confirmed.
async fn play(
    role: &str,
    prefix: &str,
    consumer: &Channel,
    publisher: &Channel,
    stopwatch: &Stopwatch,
) -> Result<()> {
    let queue = format!("{prefix}.{role}");
    let options = BasicConsumeOptions::default();
    let mut deliveries = consumer
        .basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default())
        .await?;
    let mut confirms: FuturesOrdered<BoxFuture<'static, Result<u64>>> = FuturesOrdered::new();
    let mut state: HashMap<u64, u8> = HashMap::new();
    let mut unacknowledged = 0;
    loop {
        tokio::select! {
            biased;
            Some(tag) = confirms.next(), if !confirms.is_empty() => {
                let mut last = tag?;
                unacknowledged += 1;
                while let Some(Some(tag)) = confirms.next().now_or_never() {
                    last = tag?;
                    unacknowledged += 1;
                    if unacknowledged >= RANGE { break; }
                }
                consumer.basic_ack(last, BasicAckOptions { multiple: true }).await?;
                unacknowledged = 0;
            }
            Some(delivery) = deliveries.next() => {
                let delivery = delivery?;
                let body: Body = serde_json::from_slice(&delivery.data)?;
                let kind = delivery.properties.kind().as_ref().map(|kind| kind.as_str().to_owned()).unwrap_or_default();
                let next = follow(&kind, &mut state, body.order);
                let tag = delivery.delivery_tag;
                match next {
                    Some((to, kind)) => {
                        let confirm = publish(publisher, &format!("{prefix}.{to}"), kind, &body).await?;
                        confirms.push_back(async move {
                            match confirm.await? {
                                Confirmation::Ack(None) => Ok(tag),
                                other => anyhow::bail!("not confirmed: {other:?}"),
                            }
                        }.boxed());
                    }
                    None => {
                        stopwatch.completed(body.order);
                        confirms.push_back(std::future::ready(Ok(tag)).boxed());
                    }
                }
            }
            else => return Ok(()),
        }
    }
}

/// What follows a message: the next one's queue and kind.
pub(crate) fn follow(
    kind: &str,
    state: &mut HashMap<u64, u8>,
    order: u64,
) -> Option<(&'static str, &'static str)> {
    match kind {
        "place" => {
            state.insert(order, 1);
            Some(("billing", "charge"))
        }
        "charge" => Some(("sales", "charged")),
        "charged" => {
            state.insert(order, 2);
            Some(("warehouse", "reserve"))
        }
        "reserve" => Some(("sales", "reserved")),
        "reserved" => {
            state.insert(order, 3);
            Some(("shipping", "ship"))
        }
        "ship" => Some(("sales", "shipped")),
        _ => {
            state.remove(&order);
            None
        }
    }
}

async fn place(
    client: &Channel,
    prefix: &str,
    stopwatch: &Stopwatch,
    orders: u64,
    rate: Option<u64>,
) -> Result<()> {
    let queue = format!("{prefix}.sales");
    let body = |order| Body {
        order,
        cents: 100 + order,
        note: note(),
    };
    if let Some(rate) = rate {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate)?);
        for number in 0..orders {
            ticks.tick().await;
            stopwatch.placed(number);
            publish(client, &queue, "place", &body(number))
                .await?
                .await
                .context("the order is confirmed")?;
        }
        return Ok(());
    }
    let mut number = 0;
    while number < orders {
        stopwatch.under_way_below(number, UNDER_WAY).await;
        let mut confirms = Vec::new();
        for _ in 0..100.min(orders - number) {
            stopwatch.placed(number);
            confirms.push(publish(client, &queue, "place", &body(number)).await?);
            number += 1;
        }
        for confirm in confirms {
            confirm.await?;
        }
    }
    Ok(())
}
