//! Delayed messages on a real broker.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use longhaul_core::{
    address::Address,
    clock::{Clock, SystemClock, Timestamp},
    transport::{Accepted, Declare, Receiver, ReceiverOptions, Topology, Transport, TransportErrorKind},
};
use longhaul_rabbitmq::{RabbitMq, Redelivered};

use crate::support::{
    messages::{due, next, send},
    raw::Raw,
    scratch::{Scratch, in_ms, scratch},
    soon, until,
};

async fn with_delays(transport: &RabbitMq, queues: &[&Address]) {
    let queues = queues.iter().map(|queue| (*queue).clone()).collect();
    let topology = Topology {
        queues,
        delays: true,
        ..Topology::default()
    };
    transport.prepare(&topology, Declare::Declare).await.unwrap();
}

async fn receiver(transport: &RabbitMq, queue: &Address) -> Box<dyn Receiver> {
    transport
        .receiver(queue, ReceiverOptions::default())
        .await
        .unwrap()
}

/// The transport with whole seconds for its unit.
async fn with_seconds(scratch: &Scratch) -> RabbitMq {
    scratch
        .builder()
        .delay_unit(Duration::from_secs(1))
        .connect()
        .await
        .unwrap()
}

/// How late a delayed message may be where nothing else goes on: what is promised. The tests that ask for it run alone.
const ALONE: Duration = Duration::from_secs(1);
/// How late where other tests keep the broker busy.
const BESIDE_OTHERS: Duration = Duration::from_secs(10);

/// A message that is due then has come just now.
fn in_time(due: Timestamp, at_most: Duration) {
    let now = SystemClock.now();
    assert!(now >= due, "{:?} early", due.since(now));
    assert!(now.since(due) <= at_most, "{:?} late", now.since(due));
}

#[tokio::test]
async fn when_the_unit_is_20_ms_42_of_them_arrive_not_early_and_soon_after() {
    scratch(async |scratch| {
        let (transport, queue) = (scratch.transport().await, scratch.queue("in"));
        with_delays(&transport, &[&queue]).await;
        let mut receiver = receiver(&transport, &queue).await;
        for milliseconds in [840, 1, 20, 21, 130] {
            let at = in_ms(milliseconds);
            assert_eq!(send(&transport, due(&queue, "1", at)).await, Ok(Accepted::Queued));
            let got = next(&mut receiver).await;
            in_time(at, ALONE);
            assert!(
                got.incoming
                    .headers
                    .iter()
                    .all(|(name, _)| !name.starts_with("x-")),
                "{:?}",
                got.incoming.headers
            );
            got.done().await;
        }
        assert_eq!(
            send(&transport, due(&queue, "2", Timestamp::UNIX_EPOCH)).await,
            Ok(Accepted::Queued)
        );
        next(&mut receiver).await.done().await;
    })
    .await;
}

#[tokio::test]
async fn when_the_unit_is_a_second_3_seconds_are_not_early_and_at_most_a_second_late() {
    scratch(async |scratch| {
        let (transport, queue) = (with_seconds(&scratch).await, scratch.queue("in"));
        with_delays(&transport, &[&queue]).await;
        let mut receiver = receiver(&transport, &queue).await;
        let at = in_ms(3000);
        assert_eq!(send(&transport, due(&queue, "1", at)).await, Ok(Accepted::Queued));
        let got = next(&mut receiver).await;
        in_time(at, ALONE);
        got.done().await;
    })
    .await;
}

#[tokio::test]
async fn when_the_unit_is_a_second_5_7_and_42_seconds_arrive_not_early_and_soon_after() {
    scratch(async |scratch| {
        let (transport, queue) = (with_seconds(&scratch).await, scratch.queue("in"));
        with_delays(&transport, &[&queue]).await;
        let mut receiver = receiver(&transport, &queue).await;
        let mut expected = HashMap::new();
        for seconds in [42, 5, 7] {
            let at = in_ms(seconds * 1000);
            expected.insert(seconds.to_string(), at);
            assert_eq!(
                send(&transport, due(&queue, &seconds.to_string(), at)).await,
                Ok(Accepted::Queued)
            );
        }
        while !expected.is_empty() {
            let got = tokio::time::timeout(Duration::from_secs(60), receiver.receive())
                .await
                .unwrap()
                .unwrap();
            let got = crate::support::messages::open(got);
            in_time(expected.remove(&got.id).unwrap(), BESIDE_OTHERS);
            got.done().await;
        }
    })
    .await;
}

#[tokio::test]
async fn when_one_queues_name_ends_like_anothers_each_gets_its_own_delayed_messages_only() {
    scratch(async |scratch| {
        let transport = scratch.transport().await;
        let (sales, foo_sales) = (scratch.queue("Sales"), scratch.queue("Foo.Sales"));
        // The names end alike only if nothing stands in front of them.
        let bare = Address::new(format!("Foo.{sales}")).unwrap();
        scratch.also(&bare);
        with_delays(&transport, &[&sales, &foo_sales, &bare]).await;
        for queue in [&sales, &foo_sales, &bare] {
            for number in 0..5 {
                send(&transport, due(queue, &format!("{queue} {number}"), in_ms(100)))
                    .await
                    .unwrap();
            }
        }
        for queue in [&sales, &foo_sales, &bare] {
            let mut receiver = receiver(&transport, queue).await;
            for _ in 0..5 {
                let got = next(&mut receiver).await;
                assert!(
                    got.id.starts_with(&format!("{queue} ")),
                    "{} came to {queue}",
                    got.id
                );
                got.done().await;
            }
            receiver.close().await.unwrap();
        }
        let raw = Raw::connect().await;
        for queue in [&sales, &foo_sales, &bare] {
            raw.becomes(queue.as_str(), (0, 0)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn when_the_destination_is_deleted_meanwhile_its_messages_are_kept_aside_and_hold_up_nobody() {
    scratch(async |scratch| {
        let transport = scratch.transport().await;
        let (gone, stays) = (scratch.queue("gone"), scratch.queue("stays"));
        with_delays(&transport, &[&gone, &stays]).await;
        let batch: Vec<_> = (0..200)
            .map(|number| due(&gone, &number.to_string(), in_ms(1500)))
            .collect();
        for outcome in soon("sending", transport.dispatch(&batch)).await {
            assert_eq!(outcome.unwrap(), Accepted::Queued);
        }
        let raw = Raw::connect().await;
        raw.delete_queue(gone.as_str()).await;
        let at = in_ms(1500);
        send(&transport, due(&stays, "on time", at)).await.unwrap();
        let mut receiver = receiver(&transport, &stays).await;
        let on_time = next(&mut receiver).await;
        in_time(at, BESIDE_OTHERS);
        on_time.done().await;
        let aside = transport.delays().undeliverable();
        raw.becomes(&aside, (200, 0)).await;
        let still = transport.redeliver_undeliverable(10).await.unwrap();
        assert_eq!(still, Redelivered { sent: 0, left: 10 });
        raw.becomes(&aside, (200, 0)).await;
        with_delays(&transport, &[&gone]).await;
        let sent = transport.redeliver_undeliverable(1000).await.unwrap();
        assert_eq!(sent, Redelivered { sent: 200, left: 0 });
        let mut receiver = self::receiver(&transport, &gone).await;
        let mut ids = HashSet::new();
        for _ in 0..200 {
            let got = next(&mut receiver).await;
            assert!(ids.insert(got.id.clone()));
            assert!(
                got.incoming
                    .headers
                    .iter()
                    .all(|(name, _)| !name.starts_with("x-"))
            );
            got.done().await;
        }
        raw.becomes(&aside, (0, 0)).await;
    })
    .await;
}

#[tokio::test]
async fn when_there_is_no_destination_a_delayed_message_is_unroutable_until_there_is_one() {
    scratch(async |scratch| {
        let transport = scratch.transport().await;
        let (queue, later) = (scratch.queue("in"), scratch.queue("later"));
        with_delays(&transport, &[&queue]).await;
        assert_eq!(
            send(&transport, due(&later, "1", in_ms(50))).await,
            Err(TransportErrorKind::Unroutable)
        );
        with_delays(&transport, &[&later]).await;
        assert_eq!(
            send(&transport, due(&later, "1", in_ms(50))).await,
            Ok(Accepted::Queued)
        );
        let mut receiver = receiver(&transport, &later).await;
        next(&mut receiver).await.done().await;
    })
    .await;
}

#[tokio::test]
async fn when_the_levels_were_never_created_the_first_delayed_message_creates_them() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        assert!(transport.verify_delays().await.is_err());
        assert_eq!(
            send(&transport, due(&queue, "1", in_ms(60))).await,
            Ok(Accepted::Queued)
        );
        let mut receiver = receiver(&transport, &queue).await;
        next(&mut receiver).await.done().await;
        until("empty levels", async || {
            let depths = transport.verify_delays().await.unwrap();
            assert_eq!(depths.len(), 29);
            depths.iter().all(|(_, messages)| *messages == 0).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn when_the_levels_exist_the_broker_agrees_with_every_argument_of_all_28_and_with_no_other() {
    scratch(async |scratch| {
        let transport = with_seconds(&scratch).await;
        transport.create_delays().await.unwrap();
        transport.create_delays().await.unwrap();
        transport.verify_delays().await.unwrap();
        let raw = Raw::connect().await;
        for level in 0..28_u32 {
            let name = transport.delays().level_name(level);
            let next = level
                .checked_sub(1)
                .map_or(transport.delays().delivery_exchange(), |next| {
                    transport.delays().level_name(next)
                });
            raw.declare_level(&name, 1000 << level, &next).await.unwrap();
            let other = raw
                .declare_level(&name, (1000 << level) + 1, &next)
                .await
                .unwrap_err();
            assert!(other.to_string().contains("x-message-ttl"), "{other}");
        }
    })
    .await;
}
