//! A clock that runs faster than the real one: brokers and stores do not become faster with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use longhaul::address::Address;
use longhaul::clock::ManualClock;
use longhaul::prelude::*;
use longhaul::transport::{
    Accepted, Capabilities, Declare, Dispatch, Health, Receiver, ReceiverOptions, Report, Topology,
    Transport, TransportError,
};
use tokio::sync::watch;

use crate::world::{Do, Doer, Ledger, Watcher, World};

/// So many times as fast.
const SPEED: u32 = 100_000;

#[derive(Debug, Clone)]
struct FastClock(ManualClock);

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'static, ()> {
        self.0.sleep_until(due)
    }

    fn to_real(&self, duration: Duration) -> Duration {
        duration / SPEED
    }
}

/// Takes a second of real time for each call.
#[derive(Debug, Clone)]
struct SlowBroker {
    inner: LocalBroker,
    clock: ManualClock,
    dispatched: Arc<AtomicUsize>,
}

impl SlowBroker {
    async fn take_time(&self) {
        self.clock
            .sleep_until(self.clock.now() + Duration::from_secs(1) * SPEED)
            .await;
    }
}

#[async_trait]
impl Transport for SlowBroker {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        self.take_time().await;
        self.inner.prepare(topology, mode).await
    }

    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        self.take_time().await;
        self.inner.receiver(source, options).await
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        self.take_time().await;
        self.dispatched.fetch_add(batch.len(), Ordering::Relaxed);
        self.inner.dispatch(batch).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.health()
    }
}

#[test]
fn when_the_clock_runs_fast_the_broker_is_given_the_same_real_time_to_answer() {
    let world = World::new();
    let broker = SlowBroker {
        inner: world.broker.clone(),
        clock: world.clock.clone(),
        dispatched: Arc::default(),
    };
    let endpoint = |name| {
        let builder = world.endpoint(name).clock(FastClock(world.clock.clone()));
        builder.transport(broker.clone())
    };
    let (did, seen) = (Ledger::default(), Ledger::default());
    let doer = world.start(endpoint("doer").handler::<Do>(Doer(did.clone())));
    let _watcher = world.start(endpoint("watcher").handler::<crate::world::Done>(Watcher(seen.clone())));
    world
        .run(doer.session.send(Do { what: "sweep".into() }))
        .expect("sent");
    world.pass(Duration::from_secs(60) * SPEED);
    assert_eq!((did.len(), seen.len()), (1, 1));
    assert_eq!(doer.monitor.stats().send_failures, 0, "no call was given up");
    assert_eq!(
        broker.dispatched.load(Ordering::Relaxed),
        2,
        "each message was sent once"
    );
}
