//! Settling: once, in any order, or not at all.

use std::{collections::HashSet, time::Duration};

use longhaul_core::{
    clock::{Clock, SystemClock},
    transport::{Declare, ReceiverOptions, Settled, Transport, TransportErrorKind},
};

use crate::support::{
    SOON,
    messages::{fill, next, open, send, to},
    raw::Raw,
    scratch::{scratch, topology},
    soon, until,
};

fn prefetch(prefetch: u16) -> ReceiverOptions {
    ReceiverOptions {
        prefetch,
        exclusive: false,
    }
}

#[tokio::test]
async fn when_messages_are_settled_in_any_order_all_acknowledged_are_gone_and_no_others() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        fill(&transport, &queue, 300).await;
        let mut receiver = transport.receiver(&queue, prefetch(100)).await.unwrap();
        let (mut kept, mut settled) = (Vec::new(), 0);
        while settled < 300 {
            let got = next(&mut receiver).await;
            settled += 1;
            let number: usize = got.id.parse().unwrap();
            if number % 10 == 3 && got.redeliveries == 0 {
                kept.push(got);
            } else {
                got.done().await;
            }
        }
        assert_eq!(kept.len(), 30);
        let ids: HashSet<_> = kept.iter().map(|got| got.id.clone()).collect();
        drop(kept);
        let mut again = HashSet::new();
        while again.len() < 30 {
            let got = next(&mut receiver).await;
            assert!(got.redeliveries > 0 && ids.contains(&got.id));
            again.insert(got.id.clone());
            got.done().await;
        }
        receiver.close().await.unwrap();
        let raw = Raw::connect().await;
        until("an empty queue", async || {
            (raw.look(queue.as_str()).await == Some((0, 0))).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn when_a_slow_message_holds_the_front_the_others_go_on_past_the_prefetch_limit() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        fill(&transport, &queue, 200).await;
        let mut receiver = transport.receiver(&queue, prefetch(4)).await.unwrap();
        let slow = next(&mut receiver).await;
        for _ in 1..200 {
            next(&mut receiver).await.done().await;
        }
        slow.done().await;
        receiver.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn when_a_message_is_released_for_later_it_comes_again_not_before() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        fill(&transport, &queue, 1).await;
        let mut receiver = transport.receiver(&queue, prefetch(10)).await.unwrap();
        let after = Duration::from_millis(300);
        let got = next(&mut receiver).await;
        let released = SystemClock.now();
        assert_eq!(got.settlement.release(after).await.unwrap(), Settled::Done);
        let got = next(&mut receiver).await;
        let waited = SystemClock.now().since(released);
        assert!(
            waited >= after && waited < after + Duration::from_secs(10),
            "{waited:?}"
        );
        assert!(got.redeliveries > 0);
        assert_eq!(
            got.settlement.release(Duration::ZERO).await.unwrap(),
            Settled::Done
        );
        next(&mut receiver).await.done().await;
    })
    .await;
}

#[tokio::test]
async fn when_the_receiver_is_closed_what_nobody_started_goes_back_at_once_and_the_rest_can_still_be_settled()
{
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        fill(&transport, &queue, 50).await;
        let mut receiver = transport.receiver(&queue, prefetch(50)).await.unwrap();
        let (first, second) = (next(&mut receiver).await, next(&mut receiver).await);
        receiver.close().await.unwrap();
        let raw = Raw::connect().await;
        // A consumer that was cancelled is counted for as long as somebody has a message of it.
        until("48 messages back", async || {
            (raw.look(queue.as_str()).await == Some((48, 1))).then_some(())
        })
        .await;
        first.done().await;
        assert_eq!(
            second.settlement.release(Duration::from_secs(60)).await.unwrap(),
            Settled::Done
        );
        until("49 messages", async || {
            (raw.look(queue.as_str()).await == Some((49, 0))).then_some(())
        })
        .await;
        let mut receiver = transport.receiver(&queue, prefetch(50)).await.unwrap();
        let mut ids = HashSet::new();
        while ids.len() < 49 {
            let got = next(&mut receiver).await;
            ids.insert(got.id.clone());
            got.done().await;
        }
        assert!(!ids.contains("0"));
    })
    .await;
}

#[tokio::test]
async fn when_receive_is_given_up_again_and_again_nothing_is_lost() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        fill(&transport, &queue, 500).await;
        let mut receiver = transport.receiver(&queue, prefetch(20)).await.unwrap();
        let mut numbers = Vec::new();
        while numbers.len() < 500 {
            tokio::select! {
                biased;
                got = receiver.receive() => {
                    let got = open(got.unwrap());
                    numbers.push(got.id.parse::<usize>().unwrap());
                    got.done().await;
                }
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn when_one_process_owns_the_queue_a_second_one_is_refused_until_the_first_is_gone() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let other = scratch.transport().await;
        let alone = ReceiverOptions {
            exclusive: true,
            ..ReceiverOptions::default()
        };
        let first = transport.receiver(&queue, alone).await.unwrap();
        let refused = other.receiver(&queue, alone).await.expect_err("somebody has it");
        assert_eq!(refused.kind(), TransportErrorKind::InUse, "{refused}");
        first.close().await.unwrap();
        let second = soon("the second", other.receiver(&queue, alone)).await.unwrap();
        second.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn when_messages_are_large_only_so_many_bytes_are_taken_ahead_and_all_come_in_the_end() {
    const MEBIBYTE: usize = 1 << 20;
    scratch(async |scratch| {
        let (sender, queue) = scratch.with_queue("in").await;
        for number in 0..60 {
            let mut message = to(&queue, &number.to_string());
            message.envelope.body = vec![b'x'; MEBIBYTE].into();
            send(&sender, message).await.unwrap();
        }
        let transport = scratch
            .builder()
            .unsettled_bytes(5 * MEBIBYTE)
            .connect()
            .await
            .unwrap();
        let mut receiver = transport.receiver(&queue, prefetch(60)).await.unwrap();
        let mut taken = Vec::new();
        for _ in 0..5 {
            taken.push(next(&mut receiver).await);
        }
        while let Ok(delivery) = tokio::time::timeout(Duration::from_secs(1), receiver.receive()).await {
            taken.push(open(delivery.unwrap()));
        }
        // What was on its way when the limit was reached came too: lapin reads 4 MiB at once.
        assert!(taken.len() <= 15, "{}", taken.len());
        let mut count = taken.len();
        for one in taken {
            one.done().await;
        }
        while count < 60 {
            next(&mut receiver).await.done().await;
            count += 1;
        }
        receiver.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn when_two_want_a_queue_alone_at_the_same_time_at_most_one_gets_it() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let other = scratch.transport().await;
        let alone = ReceiverOptions {
            exclusive: true,
            ..ReceiverOptions::default()
        };
        let both =
            futures_util::future::join(transport.receiver(&queue, alone), other.receiver(&queue, alone));
        let (first, second) = soon("both", both).await;
        assert!(first.is_err() || second.is_err());
        for refused in [&first, &second].into_iter().filter_map(|one| one.as_ref().err()) {
            assert_eq!(refused.kind(), TransportErrorKind::InUse);
        }
    })
    .await;
}

#[tokio::test]
async fn when_the_queue_is_deleted_under_the_consumer_it_is_made_again_and_consumed() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let mut receiver = transport.receiver(&queue, prefetch(10)).await.unwrap();
        let raw = Raw::connect().await;
        raw.delete_queue(queue.as_str()).await;
        until("the queue again", async || {
            (raw.look(queue.as_str()).await == Some((0, 1))).then_some(())
        })
        .await;
        send(&transport, to(&queue, "1")).await.unwrap();
        next(&mut receiver).await.done().await;
    })
    .await;
}

#[tokio::test]
async fn when_the_queue_is_gone_and_may_not_be_made_receive_says_so_and_goes_on_when_it_is_back() {
    scratch(async |scratch| {
        let mut timing = longhaul_rabbitmq::Timing::default();
        timing.grace = Duration::from_millis(500);
        timing.longest_pause = Duration::from_millis(200);
        let owner = scratch.transport().await;
        let queue = scratch.queue("in");
        owner
            .prepare(&topology(&[&queue]), Declare::Declare)
            .await
            .unwrap();
        let transport = scratch.builder().timing(timing).connect().await.unwrap();
        transport
            .prepare(&topology(&[&queue]), Declare::Assume)
            .await
            .unwrap();
        let mut receiver = transport.receiver(&queue, prefetch(10)).await.unwrap();
        let raw = Raw::connect().await;
        raw.delete_queue(queue.as_str()).await;
        let error = tokio::time::timeout(SOON, receiver.receive())
            .await
            .unwrap()
            .expect_err("it is gone");
        assert_eq!(error.kind(), TransportErrorKind::Topology);
        owner
            .prepare(&topology(&[&queue]), Declare::Declare)
            .await
            .unwrap();
        send(&owner, to(&queue, "1")).await.unwrap();
        until("the message", async || match receiver.receive().await {
            Ok(delivery) => {
                open(delivery).done().await;
                Some(())
            }
            Err(_) => None,
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn when_there_is_no_such_queue_the_receiver_is_refused() {
    scratch(async |scratch| {
        let transport = scratch.transport().await;
        let queue = scratch.queue("nowhere");
        let error = transport
            .receiver(&queue, prefetch(10))
            .await
            .expect_err("there is no queue");
        assert_eq!(error.kind(), TransportErrorKind::Topology);
        assert!(error.to_string().contains(queue.as_str()), "{error}");
    })
    .await;
}
