//! Sending and receiving when nothing goes wrong.

use std::time::Duration;

use longhaul_core::{
    envelope::Envelope,
    headers,
    ids::MessageId,
    transport::{
        Accepted, Declare, Destination, Dispatch, ReceiverOptions, Settled, Topology, Transport,
        TransportErrorKind,
    },
};

use crate::support::{
    messages::{event, fill, next, send, to},
    raw::Raw,
    scratch::{scratch, subscribed, topology},
    soon, until,
};

#[tokio::test]
async fn when_messages_are_sent_they_arrive_in_order_with_everything_they_said() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let mut receiver = transport
            .receiver(&queue, ReceiverOptions::default())
            .await
            .unwrap();
        let mut first = to(&queue, "first");
        first.envelope.headers.set("tenant", "acme ✓");
        first.envelope.headers.set("CC", "not copied");
        first.envelope.headers.set("x-death", "mine");
        first.envelope.headers.set(headers::REPLY_TO, "somewhere");
        let sent = first.envelope.clone();
        assert_eq!(send(&transport, first).await, Ok(Accepted::Queued));
        let got = next(&mut receiver).await;
        let limits = longhaul_core::limits::Limits::default();
        assert_eq!(
            longhaul_core::envelope::read(&got.envelope, &limits).unwrap(),
            sent
        );
        assert_eq!(got.redeliveries, 0);
        got.done().await;

        fill(&transport, &queue, 500).await;
        for number in 0..500 {
            let got = next(&mut receiver).await;
            assert_eq!(got.id, number.to_string());
            got.done().await;
        }
        receiver.close().await.unwrap();
        let raw = Raw::connect().await;
        until("an empty queue", async || {
            (raw.look(queue.as_str()).await == Some((0, 0))).then_some(())
        })
        .await;
        transport.close().await;
    })
    .await;
}
