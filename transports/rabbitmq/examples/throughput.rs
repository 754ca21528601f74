//! How many messages a second go out and come in: `LONGHAUL_AMQP_URL=… cargo run --release --example throughput`.
//!
//! Arguments, all optional: messages (100000), senders (16), messages a batch (16), bytes a body (512).

use std::{error::Error, sync::Arc, time::Duration};

use futures_util::future::join_all;
use longhaul_core::{
    address::Address,
    clock::{Clock, SystemClock},
    envelope::Envelope,
    headers::{self, Headers},
    ids::{InvalidId, MessageId},
    transport::{Declare, Destination, Dispatch, ReceiverOptions, Topology, Transport},
};
use longhaul_rabbitmq::RabbitMq;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .map(|number| number.parse())
        .collect::<Result<_, _>>()?;
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    let (messages, senders, batch, bytes) =
        (number(0, 100_000), number(1, 16), number(2, 16), number(3, 512));

    let transport = Arc::new(
        RabbitMq::builder(std::env::var("LONGHAUL_AMQP_URL")?)
            .prefix("throughput")
            .connect()
            .await?,
    );
    let queue = Address::new("throughput.in")?;
    let topology = Topology {
        queues: vec![queue.clone()],
        ..Topology::default()
    };
    transport.prepare(&topology, Declare::Declare).await?;

    let began = SystemClock.now();
    let per_sender = messages / senders / batch;
    let sending = (0..senders).map(|sender| {
        let (transport, queue) = (Arc::clone(&transport), queue.clone());
        tokio::spawn(async move {
            for round in 0..per_sender {
                let ids = (0..batch).map(|number| format!("{sender}-{round}-{number}"));
                let batch = ids
                    .map(|id| message(&queue, &id, bytes))
                    .collect::<Result<Vec<_>, _>>();
                for outcome in transport
                    .dispatch(&batch.map_err(|error| error.to_string())?)
                    .await
                {
                    outcome.map_err(|error| error.to_string())?;
                }
            }
            Ok::<_, String>(())
        })
    });
    for sent in join_all(sending).await {
        sent??;
    }
    let sent = per_sender * senders * batch;
    report("confirmed", sent, SystemClock.now().since(began));

    let began = SystemClock.now();
    let mut receiver = transport.receiver(&queue, ReceiverOptions::default()).await?;
    for _ in 0..sent {
        let (_, settlement) = receiver.receive().await?.into_parts();
        settlement.acknowledge().await?;
    }
    report("received and acknowledged", sent, SystemClock.now().since(began));
    receiver.close().await?;
    transport.close().await;
    Ok(())
}

fn message(queue: &Address, id: &str, bytes: usize) -> Result<Dispatch, InvalidId> {
    let headers = Headers::from_iter([
        (headers::CONTENT_TYPE, "application/json"),
        (headers::TYPE, "throughput.thing.v1"),
        (headers::INTENT, "send"),
        (headers::CONVERSATION, "0190b6f0-0000-7000-8000-000000000000"),
        (headers::CAUSATION, "0190b6f0-0000-7000-8000-000000000000"),
        (headers::ORIGINATING_ENDPOINT, "throughput"),
        (headers::TIME_SENT, "2026-11-21T10:00:00Z"),
    ]);
    let envelope = Envelope::new(MessageId::new(id)?, headers, vec![b'x'; bytes].into());
    Ok(Dispatch {
        envelope,
        to: Destination::Queue(queue.clone()),
        due: None,
    })
}

fn report(what: &str, count: usize, took: Duration) {
    println!(
        "{what}: {count} in {:.2} s, {:.0}/s",
        took.as_secs_f64(),
        count as f64 / took.as_secs_f64()
    );
}
