//! What becomes of messages that can't be delivered, among others that can.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;
use lapin::types::AMQPValue;
use longhaul_core::transport::{Accepted, ReceiverOptions, Transport, TransportErrorKind};

use crate::support::{
    messages::{due, event, next, send, to},
    raw::Raw,
    scratch::{in_ms, scratch},
    soon,
};

/// A queue that holds three messages and refuses all others.
const FULL: [(&str, i64); 1] = [("x-max-length", 3)];

async fn full_queue(raw: &Raw, name: &str) {
    let mut arguments = vec![("x-overflow", AMQPValue::LongString("reject-publish".into()))];
    arguments.extend(FULL.map(|(name, number)| (name, AMQPValue::LongLongInt(number))));
    raw.declare(name, &arguments).await.unwrap();
}

#[tokio::test]
async fn when_every_second_message_has_no_queue_exactly_those_are_unroutable() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let nowhere = scratch.queue("nowhere");
        for round in 0..4 {
            let target = |number: usize| {
                if number.is_multiple_of(2) {
                    &queue
                } else {
                    &nowhere
                }
            };
            let batch: Vec<_> = (0..1000)
                .map(|number| to(target(number), &format!("{round}-{number}")))
                .collect();
            let outcomes = soon("sending", transport.dispatch(&batch)).await;
            for (number, outcome) in outcomes.into_iter().enumerate() {
                match outcome {
                    Ok(accepted) => assert_eq!((number % 2, accepted), (0, Accepted::Queued)),
                    Err(error) => {
                        assert_eq!((number % 2, error.kind()), (1, TransportErrorKind::Unroutable));
                        assert!(
                            error.is_retryable() && error.to_string().contains(nowhere.as_str()),
                            "{error}"
                        );
                    }
                }
            }
        }
        let raw = Raw::connect().await;
        raw.becomes(queue.as_str(), (2000, 0)).await;
    })
    .await;
}

#[tokio::test]
async fn when_a_queue_refuses_messages_no_other_message_is_reported_as_refused_by_any_sender() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let (raw, full) = (Raw::connect().await, scratch.queue("full"));
        full_queue(&raw, full.as_str()).await;
        let transport = Arc::new(transport);
        let senders = (0..8).map(|sender| {
            let (transport, queue, full) = (Arc::clone(&transport), queue.clone(), full.clone());
            tokio::spawn(async move {
                let (mut kept, mut refused) = (0, 0);
                for round in 0..40 {
                    let target = |number| if (number + sender) % 3 == 0 { &full } else { &queue };
                    let batch: Vec<_> = (0..25)
                        .map(|number| to(target(number), &format!("{sender}-{round}-{number}")))
                        .collect();
                    let outcomes = soon("sending", transport.dispatch(&batch)).await;
                    for (dispatch, outcome) in batch.iter().zip(outcomes) {
                        let is_full =
                            dispatch.to == longhaul_core::transport::Destination::Queue(full.clone());
                        match outcome {
                            Ok(_) if is_full => kept += 1,
                            Ok(_) => {}
                            Err(error) => {
                                assert!(is_full, "{error}");
                                assert_eq!(error.kind(), TransportErrorKind::Rejected);
                                refused += 1;
                            }
                        }
                    }
                }
                (kept, refused)
            })
        });
        let results = join_all(senders).await;
        let kept: u32 = results.iter().map(|result| result.as_ref().unwrap().0).sum();
        let refused: u32 = results.iter().map(|result| result.as_ref().unwrap().1).sum();
        raw.becomes(full.as_str(), (kept, 0)).await;
        assert!(refused > 2000, "{refused}");
        let refusing = transport.refusing();
        assert_eq!(refusing.keys().collect::<Vec<_>>(), [full.as_str()]);
        assert!(refusing[full.as_str()].messages > 2000);
    })
    .await;
}

#[tokio::test]
async fn when_one_entry_of_a_batch_can_never_be_sent_the_others_are_sent() {
    scratch(async |scratch| {
        let transport = scratch.builder().max_body(100).connect().await.unwrap();
        let queue = scratch.queue("in");
        transport
            .prepare(&crate::support::scratch::topology(&[&queue]), Default::default())
            .await
            .unwrap();
        let mut big = to(&queue, "big");
        big.envelope.body = vec![b'x'; 101].into();
        let mut wide = to(&queue, "wide");
        for number in 0..40 {
            wide.envelope.headers.set(format!("h{number}"), "x".repeat(8000));
        }
        let mut long_name = to(&queue, "long");
        long_name.envelope.headers.set("n".repeat(256), "x");
        let mut late = event("late.v1", "late");
        late.due = Some(in_ms(1000));
        let far = due(&queue, "far", in_ms(1000 * 86400 * 365 * 20));
        let batch = [
            to(&queue, "a"),
            big,
            wide,
            long_name,
            late,
            far,
            event(&"e".repeat(300), "e"),
            to(&queue, "z"),
        ];
        let outcomes = soon("sending", transport.dispatch(&batch)).await;
        let kinds: Vec<_> = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().map_err(|error| error.kind()))
            .collect();
        let invalid = Err(TransportErrorKind::Invalid);
        let good = Ok(&Accepted::Queued);
        assert_eq!(
            kinds,
            [good, invalid, invalid, invalid, invalid, invalid, invalid, good]
        );
        let mut receiver = transport
            .receiver(&queue, ReceiverOptions::default())
            .await
            .unwrap();
        for id in ["a", "z"] {
            let got = next(&mut receiver).await;
            assert_eq!(got.id, id);
            got.done().await;
        }
    })
    .await;
}

#[tokio::test]
async fn when_an_events_exchange_is_deleted_what_is_sent_with_the_next_event_arrives_all_the_same() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let placed = scratch.event("placed.v1");
        assert_eq!(
            send(&transport, event(&placed, "1")).await,
            Ok(Accepted::NoSubscribers)
        );
        let raw = Raw::connect().await;
        raw.delete_exchange(&format!("{}.event.{placed}", scratch.name))
            .await;
        // Nobody told us: the channel is closed under this one and under what goes with it.
        let batch = [event(&placed, "2"), to(&queue, "3"), event(&placed, "4")];
        let outcomes = soon("sending", transport.dispatch(&batch)).await;
        let accepted: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
        assert_eq!(
            accepted,
            [Accepted::NoSubscribers, Accepted::Queued, Accepted::NoSubscribers]
        );
        assert_eq!(
            send(&transport, event(&placed, "5")).await,
            Ok(Accepted::NoSubscribers)
        );
    })
    .await;
}

#[tokio::test]
async fn when_a_dispatch_is_given_up_the_messages_are_not_lost_among_others() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        for round in 0..50 {
            let batch = [to(&queue, &format!("given-up-{round}"))];
            tokio::select! {
                biased;
                _ = transport.dispatch(&batch) => {}
                () = std::future::ready(()) => {}
            }
            assert_eq!(
                send(&transport, to(&queue, &format!("kept-{round}"))).await,
                Ok(Accepted::Queued)
            );
        }
        let mut receiver = transport
            .receiver(&queue, ReceiverOptions::default())
            .await
            .unwrap();
        let mut kept = HashSet::new();
        while kept.len() < 50 {
            let got = next(&mut receiver).await;
            if got.id.starts_with("kept") {
                kept.insert(got.id.clone());
            }
            got.done().await;
        }
    })
    .await;
}

#[tokio::test]
async fn when_the_transport_is_closed_it_says_so_and_its_connections_are_gone() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let mut receiver = transport
            .receiver(&queue, ReceiverOptions::default())
            .await
            .unwrap();
        soon("the end", transport.close()).await;
        assert_eq!(
            send(&transport, to(&queue, "1")).await,
            Err(TransportErrorKind::Closed)
        );
        let ended = soon("the end", receiver.receive())
            .await
            .expect_err("it is closed");
        assert_eq!(ended.kind(), TransportErrorKind::Closed);
        let again = transport
            .receiver(&queue, ReceiverOptions::default())
            .await
            .expect_err("it is closed");
        assert_eq!(again.kind(), TransportErrorKind::Closed);
        let health = transport.health();
        assert!(matches!(
            *health.borrow(),
            longhaul_core::transport::Health::Disconnected(_)
        ));
        let raw = Raw::connect().await;
        crate::support::until("no consumer", async || {
            (raw.look(queue.as_str()).await == Some((0, 0))).then_some(())
        })
        .await;
    })
    .await;
}
