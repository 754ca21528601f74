//! Messages of other programs, through queues and topics, and through an endpoint's error queue.

use std::time::Duration;

use longhaul_core::{
    envelope::{Envelope, read},
    limits::Limits,
    transport::{
        Accepted, Declare, Delivery, Destination, Dispatch, Receiver, ReceiverOptions, Topology, Transport,
    },
};
use longhaul_sqs::Sqs;

use crate::support::{address, builder_at, endpoint, raw, unique};

async fn prepared(prefix: &str) -> Sqs {
    let sqs = builder_at(&endpoint()).prefix(prefix).connect().await.unwrap();
    let topology = Topology {
        queues: vec![address("sales")],
        error_queues: vec![address("error")],
        ..Topology::default()
    };
    sqs.prepare(&topology, Declare::Declare).await.unwrap();
    sqs
}

async fn receiver(sqs: &Sqs, queue: &str) -> Box<dyn Receiver> {
    sqs.receiver(&address(queue), ReceiverOptions::default())
        .await
        .unwrap()
}

async fn next(receiver: &mut Box<dyn Receiver>) -> Delivery {
    let next = tokio::time::timeout(Duration::from_secs(20), receiver.receive()).await;
    next.expect("a message comes").unwrap()
}

async fn taken(receiver: &mut Box<dyn Receiver>) -> Envelope {
    let (incoming, settlement) = next(receiver).await.into_parts();
    settlement.acknowledge().await.unwrap();
    read(&incoming, &Limits::default()).unwrap()
}

#[tokio::test]
async fn when_another_program_names_the_type_the_message_is_read_and_keeps_what_it_had_in_the_error_queue() {
    let prefix = format!("f{}-", unique());
    let sqs = prepared(&prefix).await;
    let attributes = [("type", "billing.paid.v1"), ("tenant", "acme")];
    raw::put(&format!("{prefix}sales"), r#"{"order":7}"#, &attributes).await;
    let mut sales = receiver(&sqs, "sales").await;
    let came = taken(&mut sales).await;
    assert_eq!(came.types().unwrap(), ["billing.paid.v1"]);
    assert_eq!(came.headers.get("tenant"), Some("acme"));
    assert_eq!(&came.body[..], br#"{"order":7}"#);

    let passed_on = Dispatch {
        envelope: came.clone(),
        to: Destination::Queue(address("error")),
        due: None,
    };
    let accepted = sqs.dispatch(&[passed_on]).await.remove(0).unwrap();
    assert_eq!(accepted, Accepted::Queued);
    let mut errors = receiver(&sqs, "error").await;
    assert_eq!(taken(&mut errors).await, came);
    sales.close().await.unwrap();
    errors.close().await.unwrap();
}

#[tokio::test]
async fn when_a_message_says_nothing_it_is_handed_out_as_it_is() {
    let prefix = format!("f{}-", unique());
    let sqs = prepared(&prefix).await;
    raw::put(&format!("{prefix}sales"), "hello", &[]).await;
    let mut sales = receiver(&sqs, "sales").await;
    let (incoming, settlement) = next(&mut sales).await.into_parts();
    settlement.acknowledge().await.unwrap();
    assert_eq!((incoming.id, incoming.headers), (None, Vec::new()));
    assert_eq!(&incoming.body[..], b"hello");
    sales.close().await.unwrap();
}
