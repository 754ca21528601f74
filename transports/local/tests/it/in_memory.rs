//! What only the embedded broker does, in memory.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use longhaul_core::clock::{Clock, SystemClock, Timestamp};
use longhaul_core::envelope::Incoming;
use longhaul_core::ids::MessageId;
use longhaul_core::transport::{ReceiverOptions, Settled, Transport, TransportErrorKind};
use longhaul_embedded::Database;
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
        assert_eq!(clock.now().to_string(), "1970-01-01T01:00:01Z");
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

#[test]
fn when_a_receiver_is_gone_what_it_handed_out_is_lost_to_it_and_comes_again_in_its_place() {
    let clock = clock();
    let time = VirtualTime::new(clock.clone());
    time.block_on(async {
        let (broker, mut receiver) = with_sales(LocalBroker::in_memory(Arc::new(clock.clone()))).await;
        for id in ["1", "2", "3"] {
            send(&broker, id, None).await;
        }
        let (_, first) = receiver.receive().await.expect("receives").into_parts();
        let (_, second) = receiver.receive().await.expect("receives").into_parts();
        let lost = time.spawn(first.lease_lost());
        receiver.close().await.expect("closes");
        lost.await;
        let (_, mut receiver) = with_sales(broker).await;
        let again = receiver.receive().await.expect("receives");
        assert_eq!((id(&again).as_str(), again.redeliveries), ("1", 1));
        // The old rights settle nothing: neither the message nor another.
        assert_eq!(first.acknowledge().await.expect("asks"), Settled::Lost);
        assert_eq!(second.release(HOUR).await.expect("asks"), Settled::Lost);
        drop(again);
        for expected in ["1", "2", "3"] {
            assert_eq!(next(&mut receiver).await, expected);
        }
    });
}

#[test]
fn when_the_clock_goes_back_messages_stay_in_their_order_and_none_is_stuck() {
    // A clock that is set back: two manual ones would not share their time.
    #[derive(Debug)]
    struct SetBack(Mutex<Timestamp>);
    impl Clock for SetBack {
        fn now(&self) -> Timestamp {
            *self.0.lock().expect("whole")
        }
        fn sleep_until(&self, _: Timestamp) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }
    let set_back = Arc::new(SetBack(Mutex::new(Timestamp::UNIX_EPOCH + HOUR * 10)));
    VirtualTime::new(clock()).block_on(async {
        let (broker, mut receiver) = with_sales(LocalBroker::in_memory(Arc::clone(&set_back) as _)).await;
        send(&broker, "delayed", Some(set_back.now() + HOUR)).await;
        send(&broker, "1", None).await;
        *set_back.0.lock().expect("whole") = Timestamp::UNIX_EPOCH;
        send(&broker, "2", None).await;
        assert_eq!(next(&mut receiver).await, "1");
        assert_eq!(next(&mut receiver).await, "2");
        assert_eq!(broker.queue_lengths()[&sales()].delayed, 1);
    });
}

#[test]
fn when_many_threads_send_and_receive_every_message_comes_once() {
    work_on(&LocalBroker::in_memory(Arc::new(SystemClock)), 40);
}

#[test]
fn when_many_threads_work_on_a_durable_broker_every_message_comes_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = Database::open(directory.path().join("data")).expect("opens");
    let broker = LocalBroker::durable(database, Arc::new(SystemClock)).expect("opens");
    work_on(&broker, 10);
}

#[test]
fn when_messages_arrive_just_as_receivers_begin_to_wait_none_is_missed() {
    const ROUNDS: usize = 20_000;
    /// A busy machine plays fewer rounds, since each of them has threads wake each other.
    const ENOUGH: Duration = Duration::from_secs(15);
    /// How long a round may take.
    const SOON: Duration = Duration::from_secs(30);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(async {
        let (broker, _) = with_sales(LocalBroker::in_memory(Arc::new(SystemClock))).await;
        let both_caught = Arc::new(tokio::sync::Barrier::new(3));
        for catcher in [1, 2] {
            let mut receiver = broker
                .receiver(&sales(), ReceiverOptions::default())
                .await
                .expect("opens");
            let both_caught = Arc::clone(&both_caught);
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    dawdle(round * catcher % 89);
                    next(&mut receiver).await;
                    both_caught.wait().await;
                }
            });
        }
        let began = SystemClock.now();
        for round in 0..ROUNDS {
            dawdle(round % 97);
            let batch = [order("one", None), order("two", None)];
            assert!(broker.dispatch(&batch).await.iter().all(Result::is_ok));
            let caught = tokio::time::timeout(SOON, both_caught.wait()).await;
            assert!(caught.is_ok(), "a message is missed in round {round}");
            if SystemClock.now().since(began) > ENOUGH {
                break;
            }
        }
    });
}

/// A little longer or shorter, to hit every moment of the others' turns.
fn dawdle(turns: usize) {
    for _ in 0..turns * 4 {
        std::hint::spin_loop();
    }
}

fn work_on(broker: &LocalBroker, rounds: usize) {
    const THREADS: usize = 4;
    const BATCH: usize = 25;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_time()
        .build();
    let came = runtime.expect("a runtime").block_on(async {
        with_sales(broker.clone()).await;
        let receivers = (0..THREADS).map(|_| tokio::spawn(receive_until_told(broker.clone())));
        let receivers: Vec<_> = receivers.collect();
        let senders = (0..THREADS).map(|sender| {
            let broker = broker.clone();
            tokio::spawn(async move {
                for round in 0..rounds {
                    let ids = (0..BATCH).map(|number| format!("{sender}-{round}-{number}"));
                    let batch: Vec<_> = ids.map(|id| order(&id, None)).collect();
                    assert!(broker.dispatch(&batch).await.iter().all(Result::is_ok));
                    tokio::task::yield_now().await;
                }
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await.expect("sends");
        }
        for _ in 0..THREADS {
            send(broker, "end", None).await;
        }
        let mut came = Vec::new();
        for receiver in receivers {
            came.extend(receiver.await.expect("receives"));
        }
        came
    });
    assert_eq!(came.len(), THREADS * rounds * BATCH);
    assert_eq!(
        came.into_iter().collect::<BTreeSet<_>>().len(),
        THREADS * rounds * BATCH
    );
    assert_eq!(broker.len(&sales()), Some(0));
}

async fn receive_until_told(broker: LocalBroker) -> Vec<String> {
    let options = ReceiverOptions {
        prefetch: 1,
        ..ReceiverOptions::default()
    };
    let mut receiver = broker.receiver(&sales(), options).await.expect("opens");
    let mut came = Vec::new();
    loop {
        let id = next(&mut receiver).await;
        if id == "end" {
            return came;
        }
        came.push(id);
    }
}
