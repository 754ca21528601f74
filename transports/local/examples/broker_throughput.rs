//! How many messages a second: sent, received and acknowledged, in memory and durable.
//!
//! `cargo run --release -p longhaul-local --example broker_throughput [directory]`

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use longhaul_core::address::Address;
use longhaul_core::clock::SystemClock;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::{self, Headers};
use longhaul_core::ids::MessageId;
use longhaul_core::transport::{
    Declare, Destination, Dispatch, ReceiverOptions, Topology, Transport, TransportError,
};
use longhaul_embedded::Database;
use longhaul_local::LocalBroker;

type Fault = Box<dyn Error + Send + Sync>;

const BODY_BYTES: usize = 200;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let made = tempfile::tempdir()?;
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(|| made.path().to_owned(), Into::into);
    println!(
        "{:>10} {:>6} {:>8} {:>10} {:>12}",
        "broker", "batch", "senders", "messages", "messages/s"
    );
    for (batch, senders, messages) in [(1, 1, 500_000), (100, 1, 1_000_000), (100, 4, 1_000_000)] {
        let broker = LocalBroker::in_memory(Arc::new(SystemClock));
        measure(broker, "in memory", batch, senders, messages).await?;
    }
    for (batch, senders, messages) in [
        (1, 1, 5_000),
        (1, 64, 64_000),
        (100, 1, 100_000),
        (100, 4, 200_000),
    ] {
        let path: &Path = &directory.join(format!("{batch}-{senders}"));
        let database = Database::open(path)?;
        let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock))?;
        measure(broker, "durable", batch, senders, messages).await?;
        database.close()?;
    }
    Ok(())
}

async fn measure(
    broker: LocalBroker,
    name: &str,
    batch: usize,
    senders: usize,
    messages: usize,
) -> Result<(), Fault> {
    let queue = Address::new("sales")?;
    let topology = Topology {
        queues: vec![queue.clone()],
        ..Topology::default()
    };
    broker.prepare(&topology, Declare::Declare).await?;
    let begun = now();
    let receiving = tokio::spawn(receive(broker.clone(), queue.clone(), messages));
    // Every sender sends the same number.
    assert!(
        messages.is_multiple_of(senders),
        "{messages} messages, {senders} senders"
    );
    let sending = (0..senders).map(|sender| {
        let (broker, queue) = (broker.clone(), queue.clone());
        async move { tokio::spawn(send(broker, queue, sender, batch, messages / senders)).await? }
    });
    try_join_all(sending).await?;
    receiving.await??;
    report(name, batch, senders, messages, begun.elapsed());
    Ok(())
}

async fn send(
    broker: LocalBroker,
    queue: Address,
    sender: usize,
    batch: usize,
    messages: usize,
) -> Result<(), Fault> {
    for first in (0..messages).step_by(batch) {
        let numbers = first..(first + batch).min(messages);
        let messages: Result<Vec<Dispatch>, _> =
            numbers.map(|number| message(sender, number, &queue)).collect();
        for accepted in broker.dispatch(&messages?).await {
            accepted?;
        }
    }
    Ok(())
}

/// A message as an endpoint sends it: with eight headers.
fn message(sender: usize, number: usize, queue: &Address) -> Result<Dispatch, Fault> {
    let headers: Headers = [
        (headers::INTENT, "send"),
        (headers::TYPE, "sales.order_placed.v1"),
        (headers::CONTENT_TYPE, "application/json"),
        (headers::TIME_SENT, "2026-11-21T10:00:00Z"),
        (headers::CONVERSATION, "6f1c7a52-8d43-4b6e-9a0f-35c2d1e47b90"),
        (headers::CAUSATION, "6f1c7a52-8d43-4b6e-9a0f-35c2d1e47b91"),
        (headers::REPLY_TO, "sales"),
        (headers::ORIGINATING_ENDPOINT, "sales"),
    ]
    .into_iter()
    .collect();
    let id = MessageId::new(format!("{sender:016}-{number:019}"))?;
    Ok(Dispatch {
        envelope: Envelope::new(id, headers, Bytes::from(vec![b' '; BODY_BYTES])),
        to: Destination::Queue(queue.clone()),
        due: None,
    })
}

async fn receive(broker: LocalBroker, queue: Address, messages: usize) -> Result<(), TransportError> {
    let mut receiver = broker.receiver(&queue, ReceiverOptions::default()).await?;
    for _ in 0..messages {
        let (incoming, settlement) = receiver.receive().await?.into_parts();
        assert_eq!(incoming.body.len(), BODY_BYTES);
        settlement.acknowledge().await?;
    }
    Ok(())
}

fn report(name: &str, batch: usize, senders: usize, messages: usize, took: Duration) {
    let per_second = messages as u128 * 1_000 / took.as_millis().max(1);
    println!("{name:>10} {batch:>6} {senders:>8} {messages:>10} {per_second:>12}");
}

#[expect(clippy::disallowed_methods, reason = "measures the time outside")]
fn now() -> Instant {
    Instant::now()
}
