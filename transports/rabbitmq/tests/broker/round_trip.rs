//! Sending and receiving when nothing goes wrong.

use longhaul_core::{
    envelope, headers,
    limits::Limits,
    transport::{Accepted, Declare, ReceiverOptions, Topology, Transport},
};

use crate::support::{
    messages::{event, fill, next, send, to},
    raw::Raw,
    scratch::{scratch, subscribed},
    until,
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
        first.envelope.headers.set(headers::CORRELATION, "x".repeat(300));
        let sent = first.envelope.clone();
        assert_eq!(send(&transport, first).await, Ok(Accepted::Queued));
        let got = next(&mut receiver).await;
        assert_eq!(envelope::read(&got.incoming, &Limits::default()).unwrap(), sent);
        assert_eq!(got.redeliveries, 0);
        got.done().await;

        fill(&transport, &queue, 2500).await;
        for number in 0..2500 {
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

#[tokio::test]
async fn when_an_event_is_published_every_subscriber_gets_it_and_nobody_is_a_success() {
    scratch(async |scratch| {
        let transport = scratch.transport().await;
        let (placed, lonely) = (scratch.event("placed.v1"), scratch.event("lonely.v1"));
        let (sales, stock) = (scratch.queue("sales"), scratch.queue("stock"));
        let mut topology = Topology {
            queues: vec![sales.clone(), stock.clone()],
            subscriptions: vec![subscribed(&placed, &sales), subscribed(&placed, &stock)],
            ..Topology::default()
        };
        transport.prepare(&topology, Declare::Declare).await.unwrap();
        assert_eq!(send(&transport, event(&placed, "1")).await, Ok(Accepted::Queued));
        assert_eq!(
            send(&transport, event(&lonely, "2")).await,
            Ok(Accepted::NoSubscribers)
        );
        let mut at_sales = transport
            .receiver(&sales, ReceiverOptions::default())
            .await
            .unwrap();
        let mut at_stock = transport
            .receiver(&stock, ReceiverOptions::default())
            .await
            .unwrap();
        for receiver in [&mut at_sales, &mut at_stock] {
            let got = next(receiver).await;
            assert_eq!(got.id, "1");
            got.done().await;
        }

        topology.retired = vec![
            topology.subscriptions.remove(0),
            subscribed("never.there.v1", &sales),
        ];
        transport.prepare(&topology, Declare::Declare).await.unwrap();
        assert_eq!(send(&transport, event(&placed, "3")).await, Ok(Accepted::Queued));
        assert_eq!(send(&transport, to(&sales, "4")).await, Ok(Accepted::Queued));
        let got = next(&mut at_stock).await;
        assert_eq!(got.id, "3");
        got.done().await;
        let got = next(&mut at_sales).await;
        assert_eq!(got.id, "4");
        got.done().await;
    })
    .await;
}
