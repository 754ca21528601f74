//! What only the embedded broker does, in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longhaul_core::clock::Clock;
use longhaul_core::envelope::Incoming;
use longhaul_core::ids::MessageId;
use longhaul_core::transport::Transport;
use longhaul_core::transport::TransportErrorKind;
use longhaul_local::{LocalBroker, LocalOptions};
use longhaul_testing::virtual_time::VirtualTime;

use crate::support::{HOUR, clock, id, next, order, sales, send, with_sales};

#[test]
fn when_a_delayed_message_and_others_meet_at_one_instant_the_others_come_first() {
    let clock = clock();
    let time = VirtualTime::new(clock.clone());
    time.block_on(async {
        let (broker, mut receiver) = with_sales(LocalBroker::in_memory(Arc::new(clock.clone()))).await;
        send(&broker, "delayed", Some(clock.now() + HOUR)).await;
        clock.advance(HOUR);
        send(&broker, "at that instant", None).await;
        send(&broker, "at that instant too", None).await;
        clock.advance(HOUR);
        send(&broker, "later", None).await;
        let expected = ["at that instant", "at that instant too", "delayed", "later"];
        for expected in expected {
            assert_eq!(next(&mut receiver).await, expected);
        }
    });
}

#[test]
fn when_receivers_wait_for_delays_each_wakes_at_its_time_on_virtual_time() {
    let clock = clock();
    let time = VirtualTime::new(clock.clone());
    time.block_on(async {
        let (broker, mut receiver) = with_sales(LocalBroker::in_memory(Arc::new(clock.clone()))).await;
        let start = clock.now();
        for days in [3652, 1, 30] {
            send(&broker, &days.to_string(), Some(start + HOUR * 24 * days)).await;
        }
        for days in [1, 30, 3652] {
            assert_eq!(next(&mut receiver).await, days.to_string());
            assert_eq!(clock.now(), start + HOUR * 24 * days);
        }
    });
}

#[test]
fn when_an_earlier_message_comes_in_the_waiting_receiver_waits_for_that_one() {
    let clock = clock();
    let time = VirtualTime::new(clock.clone());
    time.block_on(async {
        let (broker, mut receiver) = with_sales(LocalBroker::in_memory(Arc::new(clock.clone()))).await;
        send(&broker, "late", Some(clock.now() + HOUR * 2)).await;
        let waiting = time.spawn(async move { next(&mut receiver).await });
        // Lets the receiver wait before the earlier message comes.
        clock.sleep_until(clock.now() + Duration::from_secs(1)).await;
        send(&broker, "early", Some(clock.now() + HOUR)).await;
        assert_eq!(waiting.await, "early");
    });
}

#[test]
fn when_every_second_message_is_duplicated_three_become_four() {
    let clock = clock();
    VirtualTime::new(clock.clone()).block_on(async {
        let (broker, mut receiver) = with_sales(LocalBroker::in_memory(Arc::new(clock))).await;
        broker.duplicate_every(2);
        for id in ["1", "2", "3"] {
            send(&broker, id, None).await;
        }
        assert_eq!(broker.len(&sales()), Some(4));
        for expected in ["1", "2", "2", "3"] {
            assert_eq!(next(&mut receiver).await, expected);
        }
    });
}

#[test]
fn when_a_queue_is_full_the_message_is_rejected_until_there_is_room() {
    let clock = clock();
    VirtualTime::new(clock.clone()).block_on(async {
        let options = LocalOptions::new().max_queue_length(1);
        let (broker, mut receiver) = with_sales(LocalBroker::in_memory_with(Arc::new(clock), options)).await;
        send(&broker, "1", None).await;
        let results = broker.dispatch(&[order("2", None)]).await;
        let error = results[0].as_ref().expect_err("is full");
        assert_eq!(error.kind(), TransportErrorKind::Rejected);
        assert!(error.is_retryable());
        assert_eq!(next(&mut receiver).await, "1");
        send(&broker, "2", None).await;
    });
}

#[test]
fn when_a_message_is_put_in_raw_it_comes_out_as_it_was() {
    let clock = clock();
    VirtualTime::new(clock.clone()).block_on(async {
        let (broker, mut receiver) = with_sales(LocalBroker::in_memory(Arc::new(clock))).await;
        let hostile = Incoming {
            id: None,
            headers: vec![("a".to_owned(), vec![0xff]), ("a".to_owned(), b"\r\n".to_vec())],
            body: Bytes::from(vec![0; 2 << 20]),
            native: None,
        };
        broker
            .publish_raw(&sales(), hostile.clone())
            .await
            .expect("is let in");
        let delivery = receiver.receive().await.expect("receives");
        assert_eq!(delivery.incoming.id, None);
        assert_eq!(delivery.incoming.headers, hostile.headers);
        assert_eq!(delivery.incoming.body, hostile.body);
    });
}

#[test]
fn when_an_operator_looks_nothing_is_taken_and_what_is_taken_is_gone() {
    let clock = clock();
    VirtualTime::new(clock.clone()).block_on(async {
        let (broker, mut receiver) = with_sales(LocalBroker::in_memory(Arc::new(clock.clone()))).await;
        send(&broker, "1", None).await;
        send(&broker, "2", None).await;
        send(&broker, "3", Some(clock.now() + HOUR)).await;
        let held = receiver.receive().await.expect("receives");
        assert_eq!(id(&held), "1");
        let length = broker.queue_lengths()[&sales()];
        assert_eq!(
            (length.ready, length.delayed, length.unsettled, length.total()),
            (1, 1, 1, 3)
        );
        let seen = broker.browse(&sales(), 10).expect("exists");
        assert_eq!(
            seen.iter()
                .map(|seen| seen.incoming.id.as_deref())
                .collect::<Vec<_>>(),
            [Some(&b"2"[..]), Some(&b"3"[..])]
        );
        assert_eq!(seen[1].due, Some(clock.now() + HOUR));
        let wanted = |id: &str| MessageId::new(id).expect("valid");
        assert!(
            broker.take(&sales(), &wanted("1")).await.expect("asks").is_none(),
            "somebody holds it"
        );
        assert!(broker.take(&sales(), &wanted("3")).await.expect("asks").is_some());
        assert!(broker.take(&sales(), &wanted("3")).await.expect("asks").is_none());
        assert_eq!(broker.len(&sales()), Some(2));
    });
}

#[test]
fn when_a_queue_is_deleted_its_receiver_is_told() {
    let clock = clock();
    let time = VirtualTime::new(clock.clone());
    time.block_on(async {
        let (broker, mut receiver) = with_sales(LocalBroker::in_memory(Arc::new(clock.clone()))).await;
        let waiting = time.spawn(async move { receiver.receive().await.map(|delivery| id(&delivery)) });
        clock.sleep_until(clock.now() + HOUR).await;
        assert!(broker.delete_queue(&sales()).await.expect("deletes"));
        let error = waiting.await.expect_err("the queue is gone");
        assert_eq!(error.kind(), TransportErrorKind::Topology);
        assert_eq!(broker.len(&sales()), None);
    });
}
