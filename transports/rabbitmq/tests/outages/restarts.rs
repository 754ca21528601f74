//! Brokers that are stopped, killed, and lose their leader.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use longhaul_core::{
    address::Address,
    clock::{Clock, SystemClock},
    transport::{Accepted, Declare, ReceiverOptions, Transport},
};
use longhaul_rabbitmq::{RabbitMq, Timing};
use longhaul_testing::transport_suite::{TransportFixture, faults};
use tokio::sync::OnceCell;

use crate::brokers::Brokers;
use crate::support::{
    messages::{fill, next, send, to},
    scratch::topology,
    until,
};

/// A quorum queue that was declared a moment before the broker is killed can be gone afterwards, messages and all.
const SETTLED: Duration = Duration::from_secs(3);

fn quick() -> Timing {
    let mut timing = Timing::default();
    timing.connect = Duration::from_secs(2);
    timing.confirm = Duration::from_secs(5);
    timing
}

async fn settled() {
    SystemClock.sleep_until(SystemClock.now() + SETTLED).await;
}

#[tokio::test]
async fn when_the_broker_is_killed_with_a_backlog_all_of_it_comes_and_everybody_is_back_by_themselves() {
    let brokers = Brokers::new();
    let url = brokers.start("killed").await;
    let transport = RabbitMq::builder(&url).timing(quick()).connect().await.unwrap();
    let queue = Address::new("in").unwrap();
    transport
        .prepare(&topology(&[&queue]), Declare::Declare)
        .await
        .unwrap();
    settled().await;
    fill(&transport, &queue, 1000).await;
    let mut receiver = transport
        .receiver(
            &queue,
            ReceiverOptions {
                prefetch: 50,
                exclusive: false,
            },
        )
        .await
        .unwrap();
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let got = next(&mut receiver).await;
        seen.insert(got.id.clone());
        got.done().await;
    }
    brokers.kill("killed").await;
    assert!(send(&transport, to(&queue, "while it is down")).await.is_err());
    brokers.start("killed").await;
    until("a message out", async || {
        send(&transport, to(&queue, "last")).await.ok()
    })
    .await;
    while seen.len() < 1001 {
        let got = next(&mut receiver).await;
        seen.insert(got.id.clone());
        got.done().await;
    }
    assert!(seen.contains("last"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_node_with_the_leader_is_killed_nothing_accepted_is_lost_and_sending_goes_on_within_15_s() {
    let brokers = Brokers::new();
    let urls = brokers.start_cluster(&["a", "b", "c"]).await;
    let queue = Address::new("in").unwrap();
    // The queue's leader is on the node that declares it.
    let at_a = RabbitMq::builder(&urls[0]).connect().await.unwrap();
    at_a.prepare(&topology(&[&queue]), Declare::Declare)
        .await
        .unwrap();
    settled().await;
    let builder = RabbitMq::builder(&urls[0]).or_at(&urls[1]).or_at(&urls[2]);
    let transport = Arc::new(builder.timing(quick()).connect().await.unwrap());
    let mut receiver = transport
        .receiver(&queue, ReceiverOptions::default())
        .await
        .unwrap();
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let (is_killed, first_after) = (Arc::new(AtomicBool::new(false)), Arc::new(OnceLock::new()));
    let sending = tokio::spawn({
        let (transport, queue, accepted) = (Arc::clone(&transport), queue.clone(), Arc::clone(&accepted));
        let (is_killed, first_after) = (Arc::clone(&is_killed), Arc::clone(&first_after));
        async move {
            for round in 0..u32::MAX {
                let ids: Vec<_> = (0..100).map(|number| format!("{round}-{number}")).collect();
                let batch: Vec<_> = ids.iter().map(|id| to(&queue, id)).collect();
                let is_after = is_killed.load(Ordering::SeqCst);
                for (id, outcome) in ids.into_iter().zip(transport.dispatch(&batch).await) {
                    if outcome.is_ok() {
                        accepted.lock().unwrap().push(id);
                        if is_after {
                            first_after.get_or_init(|| SystemClock.now());
                        }
                    }
                }
            }
        }
    });
    let count = || accepted.lock().unwrap_or_else(PoisonError::into_inner).len();
    until("a thousand messages", async || (count() > 1000).then_some(())).await;
    brokers.kill("a").await;
    let killed = SystemClock.now();
    is_killed.store(true, Ordering::SeqCst);
    let first = until("a message after it", async || first_after.get().copied()).await;
    let gap = first.since(killed);
    assert!(gap < Duration::from_secs(15), "{gap:?}");
    let before = count();
    until("a thousand messages more", async || {
        (count() > before + 1000).then_some(())
    })
    .await;
    sending.abort();
    drop(sending.await);
    let mut missing: HashSet<_> = accepted.lock().unwrap().drain(..).collect();
    while !missing.is_empty() {
        let got = next(&mut receiver).await;
        missing.remove(&got.id);
        got.done().await;
    }
}

/// The cases of the contract suite that restart the broker.
struct Restarted {
    brokers: Brokers,
    url: OnceCell<String>,
}

impl Restarted {
    fn new() -> Self {
        Self {
            brokers: Brokers::new(),
            url: OnceCell::new(),
        }
    }
}

#[async_trait]
impl TransportFixture for Restarted {
    async fn transport(&self) -> Arc<dyn Transport> {
        let url = self.url.get_or_init(|| self.brokers.start("restarted")).await;
        Arc::new(
            RabbitMq::builder(url)
                .delay_unit(Duration::from_millis(20))
                .connect()
                .await
                .unwrap(),
        )
    }

    fn unique(&self, hint: &str) -> String {
        hint.to_owned()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    fn short_delay(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn block_on(&self, case: LocalBoxFuture<'_, ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(case);
    }

    async fn restart(&self) -> bool {
        settled().await;
        self.brokers.stop("restarted").await;
        self.brokers.start("restarted").await;
        true
    }
}

#[test]
fn when_a_durable_broker_restarts_what_it_accepted_is_there() {
    let fixture = Restarted::new();
    fixture.block_on(Box::pin(
        faults::when_a_durable_broker_restarts_what_it_accepted_is_there(&fixture),
    ));
}

#[test]
fn when_a_durable_broker_restarts_what_nobody_settled_comes_again() {
    let fixture = Restarted::new();
    fixture.block_on(Box::pin(
        faults::when_a_durable_broker_restarts_what_nobody_settled_comes_again(&fixture),
    ));
}

#[tokio::test]
async fn when_the_broker_is_away_longer_than_every_pause_everybody_comes_back() {
    let brokers = Brokers::new();
    let url = brokers.start("away").await;
    let transport = RabbitMq::builder(&url).timing(quick()).connect().await.unwrap();
    let queue = Address::new("in").unwrap();
    transport
        .prepare(&topology(&[&queue]), Declare::Declare)
        .await
        .unwrap();
    let mut receiver = transport
        .receiver(&queue, ReceiverOptions::default())
        .await
        .unwrap();
    brokers.stop("away").await;
    settled().await;
    settled().await;
    brokers.start("away").await;
    let accepted = until("a message out", async || {
        send(&transport, to(&queue, "1")).await.ok()
    })
    .await;
    assert_eq!(accepted, Accepted::Queued);
    next(&mut receiver).await.done().await;
}
