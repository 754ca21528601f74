//! A broker that is out of memory takes nothing from those who publish.

use std::time::Duration;

use longhaul_core::{
    address::Address,
    transport::{
        Accepted, Declare, Health, Receiver, ReceiverOptions, Transport, TransportError, TransportErrorKind,
    },
};
use longhaul_rabbitmq::{RabbitMq, Timing};

use crate::brokers::Brokers;
use crate::support::{
    messages::{fill, next, send, to},
    scratch::topology,
    soon, until,
};

#[tokio::test]
async fn when_the_broker_is_out_of_memory_publishing_pauses_consuming_goes_on_and_all_drains_afterwards() {
    let brokers = Brokers::new();
    let url = brokers.start("alarm").await;
    let mut timing = Timing::default();
    timing.answer = Duration::from_secs(1);
    timing.confirm = Duration::from_secs(2);
    timing.close = Duration::from_secs(1);
    let transport = RabbitMq::builder(&url).timing(timing).connect().await.unwrap();
    let queue = Address::new("in").unwrap();
    transport
        .prepare(&topology(&[&queue]), Declare::Declare)
        .await
        .unwrap();
    fill(&transport, &queue, 100).await;
    let mut receiver = transport
        .receiver(
            &queue,
            ReceiverOptions {
                prefetch: 10,
                exclusive: false,
            },
        )
        .await
        .unwrap();
    let mut health = transport.health();

    brokers
        .ctl("alarm", &["set_vm_memory_high_watermark", "0.00001"])
        .await;
    // The broker looks at its memory every now and then, and tells who publishes after that.
    until("the alarm", async || {
        soon("an answer", send(&transport, to(&queue, "first")))
            .await
            .ok();
        matches!(*health.borrow_and_update(), Health::Blocked(_)).then_some(())
    })
    .await;
    for id in ["second", "third"] {
        let refused = soon("an answer", send(&transport, to(&queue, id))).await;
        assert!(
            matches!(
                refused,
                Err(TransportErrorKind::Rejected | TransportErrorKind::Unknown)
            ),
            "{refused:?}"
        );
    }
    // Ten times the prefetch limit: the acknowledgements get through.
    for _ in 0..100 {
        taken(&mut receiver).await;
    }

    brokers
        .ctl("alarm", &["set_vm_memory_high_watermark", "0.6"])
        .await;
    soon(
        "the end of the alarm",
        health.wait_for(|health| *health == Health::Connected),
    )
    .await
    .unwrap();
    let accepted = until("a message out", async || {
        send(&transport, to(&queue, "last")).await.ok()
    })
    .await;
    assert_eq!(accepted, Accepted::Queued);
    while !taken(&mut receiver).await.starts_with("last") {}
    receiver.close().await.unwrap();
    transport.close().await;
}

/// The id of the next message, which is acknowledged.
async fn taken(receiver: &mut Box<dyn Receiver>) -> String {
    let got = next(receiver).await;
    let id = got.id.clone();
    got.done().await;
    id
}

#[tokio::test]
async fn when_a_message_is_too_large_for_the_broker_only_that_one_is_refused() {
    let brokers = Brokers::new();
    let url = brokers.start("small").await;
    brokers
        .ctl(
            "small",
            &["eval", "application:set_env(rabbit, max_message_size, 1000)."],
        )
        .await;
    let transport = RabbitMq::connect(&url).await.unwrap();
    let queue = Address::new("in").unwrap();
    transport
        .prepare(&topology(&[&queue]), Declare::Declare)
        .await
        .unwrap();
    for _ in 0..2 {
        let mut batch = [to(&queue, "1"), to(&queue, "2"), to(&queue, "3")];
        batch[1].envelope.body = vec![b'x'; 1001].into();
        let outcomes = soon("sending", transport.dispatch(&batch)).await;
        let kinds = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().map_err(TransportError::kind));
        let expected = [
            Ok(&Accepted::Queued),
            Err(TransportErrorKind::Invalid),
            Ok(&Accepted::Queued),
        ];
        assert_eq!(kinds.collect::<Vec<_>>(), expected);
        let error = outcomes[1].as_ref().unwrap_err().to_string();
        assert!(error.contains("larger than"), "{error}");
    }
}
