//! The contract suite for transports, on the embedded broker: in memory and durable on virtual time, and in memory
//! under tokio on the system's clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use longhaul_core::address::Address;
use longhaul_core::admin::QueueAdmin;
use longhaul_core::clock::{Clock, ManualClock, SystemClock, Timestamp};
use longhaul_core::envelope::Incoming;
use longhaul_core::transport::Transport;
use longhaul_embedded::Database;
use longhaul_local::LocalBroker;
use longhaul_testing::admin_suite::AdminFixture;
use longhaul_testing::transport_suite::TransportFixture;
use longhaul_testing::virtual_time::VirtualTime;
use tempfile::TempDir;

fn start() -> ManualClock {
    ManualClock::starting_at(Timestamp::parse("2026-11-21T00:00:00Z").expect("a time"))
}

async fn put_raw(broker: &LocalBroker, queue: &Address, incoming: &Incoming) -> bool {
    broker
        .publish_raw(queue, incoming.clone())
        .await
        .expect("is let in");
    true
}

struct InMemory {
    clock: ManualClock,
    broker: LocalBroker,
}

impl InMemory {
    fn new() -> Self {
        let clock = start();
        let broker = LocalBroker::in_memory(Arc::new(clock.clone()));
        Self { clock, broker }
    }
}

#[async_trait]
impl TransportFixture for InMemory {
    async fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(self.broker.clone())
    }

    fn unique(&self, hint: &str) -> String {
        hint.to_owned()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    fn block_on(&self, case: LocalBoxFuture<'_, ()>) {
        VirtualTime::new(self.clock.clone()).block_on(case);
    }

    fn short_delay(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn slack(&self) -> Duration {
        Duration::ZERO
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30 * 86_400)
    }

    async fn put_raw(&self, queue: &Address, incoming: &Incoming) -> bool {
        put_raw(&self.broker, queue, incoming).await
    }

    async fn delete_queue(&self, queue: &Address) -> bool {
        self.broker.delete_queue(queue).await.expect("deletes")
    }
}

/// Opened anew with each restart.
type Opened = Arc<Mutex<Option<(Database, LocalBroker)>>>;

struct Durable {
    clock: ManualClock,
    opened: Opened,
    directory: TempDir,
}

impl Durable {
    fn new() -> Self {
        let durable = Self {
            clock: start(),
            opened: Opened::default(),
            directory: tempfile::tempdir().expect("a directory"),
        };
        durable.open();
        durable
    }

    fn open(&self) {
        let database = Database::open(self.directory.path().join("data")).expect("opens");
        let broker = LocalBroker::durable(database.clone(), Arc::new(self.clock.clone())).expect("opens");
        *self.opened.lock().expect("whole") = Some((database, broker));
    }

    fn broker(&self) -> LocalBroker {
        let opened = self.opened.lock().expect("whole");
        opened.as_ref().expect("is open").1.clone()
    }
}

#[async_trait]
impl TransportFixture for Durable {
    async fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(self.broker())
    }

    fn unique(&self, hint: &str) -> String {
        hint.to_owned()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    fn block_on(&self, case: LocalBoxFuture<'_, ()>) {
        let opened = Arc::clone(&self.opened);
        let busy = move || {
            let opened = opened.lock().expect("whole");
            opened
                .as_ref()
                .is_some_and(|(database, _)| database.in_flight() > 0)
        };
        VirtualTime::new(self.clock.clone())
            .also_waiting_for(busy)
            .block_on(case);
    }

    fn short_delay(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn slack(&self) -> Duration {
        Duration::ZERO
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30 * 86_400)
    }

    async fn restart(&self) -> bool {
        let opened = self.opened.lock().expect("whole").take();
        let (database, broker) = opened.expect("was open");
        drop(broker);
        database.close().expect("closes");
        self.open();
        true
    }

    async fn put_raw(&self, queue: &Address, incoming: &Incoming) -> bool {
        put_raw(&self.broker(), queue, incoming).await
    }

    async fn delete_queue(&self, queue: &Address) -> bool {
        self.broker().delete_queue(queue).await.expect("deletes")
    }
}

struct OnTokio(LocalBroker);

#[async_trait]
impl TransportFixture for OnTokio {
    async fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(self.0.clone())
    }

    fn unique(&self, hint: &str) -> String {
        hint.to_owned()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    fn block_on(&self, case: LocalBoxFuture<'_, ()>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(case);
    }

    /// So long that nothing is wrong if the thread is kept from going on for a while between a look at the clock and a send.
    fn short_delay(&self) -> Duration {
        Duration::from_millis(100)
    }

    async fn put_raw(&self, queue: &Address, incoming: &Incoming) -> bool {
        put_raw(&self.0, queue, incoming).await
    }

    async fn delete_queue(&self, queue: &Address) -> bool {
        self.0.delete_queue(queue).await.expect("deletes")
    }
}

#[async_trait]
impl AdminFixture for InMemory {
    async fn admin(&self) -> (Arc<dyn Transport>, Arc<dyn QueueAdmin>) {
        (Arc::new(self.broker.clone()), Arc::new(self.broker.clone()))
    }
}

#[async_trait]
impl AdminFixture for Durable {
    async fn admin(&self) -> (Arc<dyn Transport>, Arc<dyn QueueAdmin>) {
        (Arc::new(self.broker()), Arc::new(self.broker()))
    }
}

mod in_memory {
    use super::InMemory;

    longhaul_testing::transport_contract_suite!(InMemory::new());
    longhaul_testing::admin_contract_suite!(InMemory::new());
}

mod durable {
    use super::Durable;

    longhaul_testing::transport_contract_suite!(Durable::new());
    longhaul_testing::admin_contract_suite!(Durable::new());
}

mod on_tokio {
    use super::{Arc, LocalBroker, OnTokio, SystemClock};

    longhaul_testing::transport_contract_suite!(OnTokio(LocalBroker::in_memory(Arc::new(SystemClock))));
}
