//! Queues that keep order, and what comes to them through their inlet.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_sqs::types::QueueAttributeName;
use longhaul_core::{
    clock::{Clock, SystemClock},
    envelope::{Envelope, read},
    headers::{self, Headers},
    ids::MessageId,
    limits::Limits,
    transport::{
        Accepted, Declare, Delivery, Destination, Dispatch, Receiver, ReceiverOptions, Subscription,
        Topology, Transport, TransportErrorKind,
    },
};
use longhaul_sqs::Sqs;

use crate::support::{address, builder_at, endpoint, raw, unique};

const EVENT: &str = "billing.paid.v1";

fn topology() -> Topology {
    Topology {
        queues: vec![address("sales")],
        error_queues: vec![address("error")],
        subscriptions: vec![Subscription {
            event: EVENT.to_owned(),
            queue: address("sales"),
        }],
        delays: true,
        ..Topology::default()
    }
}

async fn prepared(prefix: &str) -> Sqs {
    let builder = builder_at(&endpoint()).prefix(prefix);
    let sqs = builder.ordered([&address("sales")]).connect().await.unwrap();
    // A second time finds what the first one made.
    for mode in [Declare::Declare, Declare::Declare, Declare::Verify] {
        sqs.prepare(&topology(), mode).await.unwrap();
    }
    sqs
}

fn message(key: &str, id: &str) -> Dispatch {
    let headers: Headers = [(headers::ORDERING_KEY, key)].into_iter().collect();
    Dispatch {
        envelope: Envelope::new(MessageId::new(id).unwrap(), headers, "{}".into()),
        to: Destination::Queue(address("sales")),
        due: None,
    }
}

async fn receiver(sqs: &Sqs) -> Box<dyn Receiver> {
    let options = ReceiverOptions::default();
    sqs.receiver(&address("sales"), options).await.unwrap()
}

async fn next(receiver: &mut Box<dyn Receiver>) -> Delivery {
    let next = tokio::time::timeout(Duration::from_secs(40), receiver.receive()).await;
    next.expect("a message comes").unwrap()
}

fn id(delivery: &Delivery) -> String {
    String::from_utf8(delivery.incoming.id.clone().unwrap()).unwrap()
}

/// Every third is given back when it comes first, at once or for a while; every fourth is dropped.
#[tokio::test]
async fn when_messages_are_given_back_each_group_is_done_with_in_the_order_of_sending() {
    let prefix = format!("o{}-", unique());
    let sqs = prepared(&prefix).await;
    let all: Vec<Dispatch> = (0..40)
        .map(|number| {
            let group = ["a", "b", "c", "d"][number * number % 7 % 4];
            message(group, &format!("{group}-{number:02}"))
        })
        .collect();
    // Two processes of one endpoint: together they keep the order.
    let mut receivers = [receiver(&sqs).await, receiver(&sqs).await];
    let sent = sqs.dispatch(&all).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    let (mut done, mut failed) = (BTreeMap::<String, Vec<String>>::new(), Vec::new());
    while done.values().map(Vec::len).sum::<usize>() < all.len() {
        for receiver in &mut receivers {
            let Ok(came) = tokio::time::timeout(Duration::from_millis(300), receiver.receive()).await else {
                continue;
            };
            let came = came.unwrap();
            let id = id(&came);
            let number: u64 = id[2..].parse().unwrap();
            let is_first = !failed.contains(&id);
            failed.push(id.clone());
            let (_, settlement) = came.into_parts();
            if is_first && number.is_multiple_of(3) {
                let after = Duration::from_secs(number % 2);
                settlement.release(after).await.unwrap();
            } else if is_first && number.is_multiple_of(4) {
                drop(settlement);
            } else {
                settlement.acknowledge().await.unwrap();
                done.entry(id[..1].to_owned()).or_default().push(id);
            }
        }
    }
    for (group, ids) in done {
        assert!(ids.is_sorted(), "group {group}: {ids:?}");
    }
    for receiver in receivers {
        receiver.close().await.unwrap();
    }
}

#[tokio::test]
async fn when_an_event_is_published_it_comes_through_the_inlet_into_its_group() {
    let prefix = format!("o{}-", unique());
    let sqs = prepared(&prefix).await;
    let policy = raw::attribute(&format!("{prefix}sales_inlet"), QueueAttributeName::Policy).await;
    assert!(policy.unwrap_or_default().contains(&format!("{prefix}*")));
    let event = Dispatch {
        to: Destination::Subscribers(EVENT.to_owned()),
        ..message("a", "m-1")
    };
    let accepted = sqs.dispatch(std::slice::from_ref(&event)).await.remove(0);
    assert_eq!(accepted.unwrap(), Accepted::Queued);
    let mut receiver = receiver(&sqs).await;
    let (incoming, settlement) = next(&mut receiver).await.into_parts();
    settlement.acknowledge().await.unwrap();
    assert_eq!(read(&incoming, &Limits::default()).unwrap(), event.envelope);
    receiver.close().await.unwrap();
}

#[tokio::test]
async fn when_a_message_is_delayed_it_comes_through_the_inlet_not_early_and_as_it_was() {
    let prefix = format!("o{}-", unique());
    let sqs = prepared(&prefix).await;
    let due = SystemClock.now() + Duration::from_millis(2500);
    let delayed = Dispatch {
        due: Some(due),
        ..message("a", "late")
    };
    let sent = sqs.dispatch(&[delayed.clone(), message("a", "soon")]).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    let mut receiver = receiver(&sqs).await;
    let soon = next(&mut receiver).await;
    assert_eq!(id(&soon), "soon");
    soon.into_parts().1.acknowledge().await.unwrap();
    let (incoming, settlement) = next(&mut receiver).await.into_parts();
    assert!(SystemClock.now() >= due, "too early");
    settlement.acknowledge().await.unwrap();
    assert_eq!(read(&incoming, &Limits::default()).unwrap(), delayed.envelope);
    receiver.close().await.unwrap();
}

#[tokio::test]
async fn when_another_program_puts_a_message_into_the_inlet_it_is_moved_on_with_all_it_has() {
    let prefix = format!("o{}-", unique());
    let sqs = prepared(&prefix).await;
    let attributes = [("type", EVENT), ("tenant", "acme")];
    raw::put(&format!("{prefix}sales_inlet"), r#"{"order":7}"#, &attributes).await;
    let mut receiver = receiver(&sqs).await;
    let (incoming, settlement) = next(&mut receiver).await.into_parts();
    settlement.acknowledge().await.unwrap();
    let came = read(&incoming, &Limits::default()).unwrap();
    assert_eq!(came.types().unwrap(), [EVENT]);
    assert_eq!(came.headers.get("tenant"), Some("acme"));
    assert_eq!(&came.body[..], br#"{"order":7}"#);
    raw::put(&format!("{prefix}sales_inlet"), "hello", &[]).await;
    let (incoming, settlement) = next(&mut receiver).await.into_parts();
    settlement.acknowledge().await.unwrap();
    assert_eq!((incoming.id, &incoming.body[..]), (None, &b"hello"[..]));
    receiver.close().await.unwrap();
}

#[tokio::test]
async fn when_the_standard_queue_of_an_endpoint_is_still_there_it_does_not_start_in_order() {
    let prefix = format!("o{}-", unique());
    let plain = builder_at(&endpoint()).prefix(&prefix).connect().await.unwrap();
    plain.prepare(&topology(), Declare::Declare).await.unwrap();
    let builder = builder_at(&endpoint()).prefix(&prefix);
    let sqs = builder.ordered([&address("sales")]).connect().await.unwrap();
    let refused = sqs.prepare(&topology(), Declare::Declare).await.unwrap_err();
    assert_eq!(refused.kind(), TransportErrorKind::Topology);
    raw::delete(&format!("{prefix}sales")).await;
    sqs.prepare(&topology(), Declare::Declare).await.unwrap();
}
