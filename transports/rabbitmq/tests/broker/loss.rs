//! Connections that are cut, stall, or never answer.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lapin::types::AMQPValue;
use longhaul_core::transport::{Declare, Health, ReceiverOptions, Settled, Transport, TransportErrorKind};
use longhaul_rabbitmq::{RabbitMq, Timing};

use crate::support::{
    messages::{fill, next, open, send, to},
    proxy::{Mode, Proxy},
    raw::Raw,
    scratch::{Scratch, scratch, topology},
    soon, until,
};

/// Short pauses, and patience enough for a broker that has much to do.
fn quick() -> Timing {
    let mut timing = Timing::default();
    timing.confirm = Duration::from_secs(10);
    timing.first_pause = Duration::from_millis(20);
    timing.longest_pause = Duration::from_millis(100);
    timing
}

/// Gives up soon where nobody answers.
fn impatient() -> Timing {
    let mut timing = quick();
    timing.connect = Duration::from_secs(1);
    timing.answer = Duration::from_secs(1);
    timing
}

/// A transport whose connections go through the proxy, which is in order now.
async fn through(scratch: &Scratch, url: &str, timing: Timing) -> RabbitMq {
    let builder = || scratch.builder_at(url).timing(timing.clone());
    until("a connection", async || builder().connect().await.ok()).await
}

fn prefetch(prefetch: u16) -> ReceiverOptions {
    ReceiverOptions {
        prefetch,
        exclusive: false,
    }
}

#[tokio::test]
async fn when_the_connection_is_cut_messages_come_again_and_old_rights_settle_nothing() {
    scratch(async |scratch| {
        let (direct, queue) = scratch.with_queue("in").await;
        let proxy = Proxy::start().await;
        let transport = through(&scratch, &proxy.url, quick()).await;
        fill(&direct, &queue, 10).await;
        let mut receiver = transport.receiver(&queue, prefetch(5)).await.unwrap();
        let mut old = Vec::new();
        for _ in 0..3 {
            old.push(next(&mut receiver).await);
        }
        let lost = old[0].settlement.lease_lost();
        proxy.cut();
        soon("the loss", lost).await;
        // The same tags are in use again on the new channel: an old acknowledgement must not reach them.
        let again = next(&mut receiver).await;
        assert!(again.redeliveries > 0);
        for (number, one) in old.into_iter().enumerate() {
            let settled = match number {
                0 => one.settlement.release(Duration::ZERO).await,
                1 => one.settlement.acknowledge().await,
                _ => {
                    drop(one);
                    continue;
                }
            };
            assert_eq!(settled.unwrap(), Settled::Lost);
        }
        let mut counts = HashMap::from([(again.id.clone(), 1)]);
        again.done().await;
        while counts.len() < 10 {
            let got = next(&mut receiver).await;
            *counts.entry(got.id.clone()).or_insert(0) += 1;
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
async fn when_somebody_else_took_the_queue_during_an_outage_its_former_owner_waits_until_it_is_free() {
    scratch(async |scratch| {
        let (direct, queue) = scratch.with_queue("in").await;
        let alone = ReceiverOptions {
            prefetch: 5,
            exclusive: true,
        };
        let proxy = Proxy::start().await;
        let transport = through(&scratch, &proxy.url, quick()).await;
        let mut health = transport.health();
        let mut former = transport.receiver(&queue, alone).await.unwrap();
        proxy.set(Mode::Refuse);
        proxy.cut();
        let raw = Raw::connect().await;
        raw.becomes(queue.as_str(), (0, 0)).await;
        let mut other = soon("the other", direct.receiver(&queue, alone)).await.unwrap();
        proxy.set(Mode::Pass);
        let refused =
            |health: &Health| matches!(health, Health::Disconnected(why) if why.contains("consumed alone"));
        drop(soon("a refusal", health.wait_for(refused)).await.unwrap());
        fill(&direct, &queue, 20).await;
        for _ in 0..20 {
            next(&mut other).await.done().await;
        }
        other.close().await.unwrap();
        fill(&direct, &queue, 1).await;
        next(&mut former).await.done().await;
        raw.becomes(queue.as_str(), (0, 1)).await;
        former.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn when_the_connection_is_killed_25_times_nothing_prefetched_is_lost_though_a_limit_of_20_loses_it() {
    scratch(async |scratch| {
        let (direct, ours) = scratch.with_queue("ours").await;
        let (raw, limited) = (Raw::connect().await, scratch.queue("limited"));
        let quorum = ("x-queue-type", AMQPValue::LongString("quorum".into()));
        raw.declare(
            limited.as_str(),
            &[quorum, ("x-delivery-limit", AMQPValue::LongLongInt(20))],
        )
        .await
        .unwrap();
        let proxy = Proxy::start().await;
        let transport = through(&scratch, &proxy.url, quick()).await;
        transport
            .prepare(&topology(&[&ours]), Declare::Declare)
            .await
            .unwrap();
        for (queue, left, may_end) in [(&ours, 5, false), (&limited, 0, true)] {
            fill(&direct, queue, 5).await;
            let mut receiver = transport.receiver(queue, prefetch(5)).await.unwrap();
            // A loss counts only where there was a delivery before it: all five are prefetched, one is looked at, none is settled.
            let mut losses = 0;
            for _ in 0..60 {
                let taken = tokio::time::timeout(Duration::from_secs(3), receiver.receive()).await;
                let taken = taken.ok().map(|delivery| open(delivery.unwrap()));
                proxy.cut();
                match taken {
                    Some(taken) => {
                        soon("the loss", taken.settlement.lease_lost()).await;
                        losses += 1;
                    }
                    // Only a queue with a limit runs out of them.
                    None if may_end && losses > 20 => break,
                    None => {}
                }
                if losses == 25 {
                    break;
                }
            }
            assert!(losses == 25 || may_end && losses > 20, "{losses}");
            drop(receiver);
            raw.becomes(queue.as_str(), (left, 0)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn when_a_publish_is_not_confirmed_in_time_it_is_unknown_and_the_next_one_goes_over_a_new_connection() {
    scratch(async |scratch| {
        let (_, queue) = scratch.with_queue("in").await;
        let proxy = Proxy::start().await;
        let mut timing = quick();
        timing.confirm = Duration::from_secs(1);
        let transport = through(&scratch, &proxy.url, timing).await;
        // A confirmation that is merely late makes a second copy of a message: what counts is which messages there are.
        let sent = async |id: &str| {
            let what = format!("{id} sent");
            until(&what, async || send(&transport, to(&queue, id)).await.ok()).await;
        };
        let raw = Raw::connect().await;
        let mut ids = BTreeSet::new();
        let mut arrived = async |id: &str| {
            let what = format!("{id} in the queue");
            until(&what, async || {
                while let Some(delivery) = raw.get(queue.as_str()).await {
                    ids.insert(delivery.properties.message_id().clone().unwrap().to_string());
                }
                ids.contains(id).then_some(())
            })
            .await;
            ids.iter().cloned().collect::<Vec<_>>()
        };
        sent("1").await;
        proxy.set(Mode::LostToClient);
        assert_eq!(
            send(&transport, to(&queue, "2")).await,
            Err(TransportErrorKind::Unknown)
        );
        proxy.set(Mode::Pass);
        // Connections that were begun meanwhile wait for answers that are lost.
        proxy.cut();
        // It did arrive: the broker's answer was lost.
        assert_eq!(arrived("2").await, ["1", "2"]);
        sent("3").await;
        proxy.set(Mode::LostToBroker);
        assert_eq!(
            send(&transport, to(&queue, "4")).await,
            Err(TransportErrorKind::Unknown)
        );
        proxy.set(Mode::Pass);
        proxy.cut();
        assert_eq!(arrived("3").await, ["1", "2", "3"]);
        sent("4").await;
        assert_eq!(arrived("4").await, ["1", "2", "3", "4"]);
    })
    .await;
}

#[tokio::test]
async fn when_connections_are_cut_while_many_send_nothing_that_was_accepted_is_missing() {
    scratch(async |scratch| {
        let (_, queue) = scratch.with_queue("in").await;
        let proxy = Proxy::start().await;
        let transport = Arc::new(through(&scratch, &proxy.url, quick()).await);
        let accepted: Arc<Mutex<Vec<String>>> = Arc::default();
        let enough = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let (transport, queue) = (Arc::clone(&transport), queue.clone());
                let (accepted, enough) = (Arc::clone(&accepted), Arc::clone(&enough));
                tokio::spawn(async move {
                    for number in 0.. {
                        if enough.load(Ordering::Relaxed) {
                            return;
                        }
                        let ids: Vec<_> = (0..5).map(|one| format!("{sender}-{number}-{one}")).collect();
                        let batch: Vec<_> = ids.iter().map(|id| to(&queue, id)).collect();
                        let outcomes = transport.dispatch(&batch).await;
                        let good = ids
                            .into_iter()
                            .zip(outcomes)
                            .filter(|(_, outcome)| outcome.is_ok());
                        accepted.lock().unwrap().extend(good.map(|(id, _)| id));
                    }
                })
            })
            .collect();
        let count = || accepted.lock().map_or(0, |accepted| accepted.len());
        for _ in 0..8 {
            let before = count();
            until("some progress", async || (count() > before + 20).then_some(())).await;
            proxy.cut();
        }
        enough.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.await.unwrap();
        }
        let accepted = std::mem::take(&mut *accepted.lock().unwrap());
        assert!(accepted.len() > 160, "{}", accepted.len());
        let raw = Raw::connect().await;
        let mut arrived = std::collections::HashSet::new();
        while let Some(delivery) = raw.get(queue.as_str()).await {
            arrived.insert(delivery.properties.message_id().clone().unwrap().to_string());
        }
        let missing: Vec<_> = accepted.iter().filter(|id| !arrived.contains(*id)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    })
    .await;
}

#[tokio::test]
async fn when_acknowledgements_are_lost_on_their_way_the_messages_come_again() {
    scratch(async |scratch| {
        let (direct, queue) = scratch.with_queue("in").await;
        let proxy = Proxy::start().await;
        let transport = through(&scratch, &proxy.url, quick()).await;
        fill(&direct, &queue, 5).await;
        let mut receiver = transport.receiver(&queue, prefetch(5)).await.unwrap();
        proxy.set(Mode::LostToBroker);
        for _ in 0..5 {
            next(&mut receiver).await.done().await;
        }
        proxy.cut();
        proxy.set(Mode::Pass);
        for _ in 0..5 {
            let got = next(&mut receiver).await;
            assert!(got.redeliveries > 0);
            got.done().await;
        }
        receiver.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn when_the_network_is_silent_both_sides_notice_by_the_heartbeat_and_start_again() {
    scratch(async |scratch| {
        let (direct, queue) = scratch.with_queue("in").await;
        let proxy = Proxy::start().await;
        let url = format!("{}?heartbeat=1", proxy.url);
        let transport = through(&scratch, &url, impatient()).await;
        fill(&direct, &queue, 1).await;
        let mut receiver = transport.receiver(&queue, prefetch(5)).await.unwrap();
        let held = next(&mut receiver).await;
        let mut health = transport.health();
        proxy.set(Mode::Lost);
        soon("the loss", held.settlement.lease_lost()).await;
        soon(
            "a bad health",
            health.wait_for(|health| matches!(health, Health::Disconnected(_))),
        )
        .await
        .unwrap();
        proxy.set(Mode::Pass);
        let again = next(&mut receiver).await;
        assert_eq!(again.id, held.id);
        again.done().await;
        soon(
            "a good health",
            health.wait_for(|health| *health == Health::Connected),
        )
        .await
        .unwrap();
    })
    .await;
}

#[tokio::test]
async fn when_nobody_answers_health_says_so_every_call_ends_and_no_threads_are_left_behind() {
    scratch(async |scratch| {
        let (_, queue) = scratch.with_queue("in").await;
        let proxy = Proxy::start().await;
        let transport = through(&scratch, &proxy.url, impatient()).await;
        let mut receiver = transport.receiver(&queue, prefetch(5)).await.unwrap();
        let mut health = transport.health();
        assert_eq!(*health.borrow(), Health::Connected);
        proxy.set(Mode::Silent);
        let before = threads();
        proxy.cut();
        soon(
            "a bad health",
            health.wait_for(|health| matches!(health, Health::Disconnected(_))),
        )
        .await
        .unwrap();
        let connections = proxy.accepted();
        until("ten more attempts", async || {
            (proxy.accepted() > connections + 10).then_some(())
        })
        .await;
        assert_eq!(
            send(&transport, to(&queue, "1")).await,
            Err(TransportErrorKind::Disconnected)
        );
        // Other tests of this process come and go: it is enough that there are few at one moment.
        until("no more threads than before", async || {
            (threads() <= before + 3).then_some(())
        })
        .await;
        proxy.set(Mode::Pass);
        proxy.cut();
        soon(
            "a good health",
            health.wait_for(|health| *health == Health::Connected),
        )
        .await
        .unwrap();
        until("a message out", async || {
            send(&transport, to(&queue, "2")).await.ok()
        })
        .await;
        next(&mut receiver).await.done().await;
    })
    .await;
}

#[tokio::test]
async fn when_the_broker_is_not_there_connecting_fails_with_its_address_and_without_the_password() {
    let proxy = Proxy::start().await;
    for (mode, user, timing) in [
        (Mode::Refuse, "guest:guest", quick()),
        (Mode::Silent, "guest:guest", impatient()),
        (Mode::Pass, "guest:c4nary", quick()),
    ] {
        proxy.set(mode);
        let url = proxy.url.replace("guest:guest", user);
        let connected = RabbitMq::builder(&url).timing(timing).connect();
        let error = soon("an error", connected).await.expect_err("there is no broker");
        let expected = if mode == Mode::Pass {
            TransportErrorKind::Denied
        } else {
            TransportErrorKind::Disconnected
        };
        assert_eq!(error.kind(), expected, "{error}");
        assert!(
            error.to_string().contains("127.0.0.1") && !error.to_string().contains("c4nary"),
            "{error}"
        );
    }
}

/// How many threads this process has.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
