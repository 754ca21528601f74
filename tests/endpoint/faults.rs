//! A database and a broker that fail when a test says so.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use longhaul::address::{Address, EndpointName};
use longhaul::prelude::*;
use longhaul::store::{
    Claimed, Durability, InboxState, LoadRequest, Loaded, Persistence, Store, StoreAdmin, StoreError,
    StoreErrorKind, UnitOfWork,
};
use longhaul::transport::{
    Accepted, Capabilities, Declare, Delivery, Dispatch, Health, Receiver, ReceiverOptions, Report, Settle,
    Settled, Settlement, Topology, Transport, TransportError,
};
use tokio::sync::watch;

/// Says of a call whether it fails, and how.
type Fault<A> = fn(&A) -> Option<StoreErrorKind>;

/// A fault, and how often it still comes.
struct Planned<A>(Mutex<Option<(Fault<A>, usize)>>);

impl<A> Default for Planned<A> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<A> Planned<A> {
    fn plan(&self, planned: Option<(Fault<A>, usize)>) {
        *self.0.lock().expect("not poisoned") = planned;
    }

    fn check(&self, asked: &A) -> Result<(), StoreError> {
        let mut planned = self.0.lock().expect("not poisoned");
        let Some((fault, left)) = planned.as_mut().filter(|(_, left)| *left > 0) else {
            return Ok(());
        };
        let Some(kind) = fault(asked) else {
            return Ok(());
        };
        *left -= 1;
        Err(StoreError::new(kind, "do as told: the test says so"))
    }
}

/// What fails, and how often it still does.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    load: Arc<Planned<LoadRequest>>,
    commit: Arc<Planned<UnitOfWork>>,
}

impl Faults {
    pub(crate) fn fail_loads(&self, times: usize, fault: Fault<LoadRequest>) {
        self.load.plan(Some((fault, times)));
    }

    pub(crate) fn fail_commits(&self, times: usize, fault: Fault<UnitOfWork>) {
        self.commit.plan(Some((fault, times)));
    }

    pub(crate) fn heal(&self) {
        self.load.plan(None);
        self.commit.plan(None);
    }
}

/// Whether the unit says that a message is handled.
pub(crate) fn is_handling(work: &UnitOfWork) -> bool {
    work.inbox
        .iter()
        .any(|change| change.next == Some(InboxState::Done))
}

/// A database with faults.
pub(crate) struct Faulty {
    pub(crate) memory: Memory,
    pub(crate) faults: Faults,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl Persistence for Faulty {
    async fn open(&self, endpoint: &EndpointName) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(FaultyStore {
            store: self.memory.open(endpoint).await?,
            faults: self.faults.clone(),
        }))
    }
}

struct FaultyStore {
    store: Arc<dyn Store>,
    faults: Faults,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn load(&self, request: &LoadRequest) -> Result<Loaded, StoreError> {
        self.faults.load.check(request)?;
        self.store.load(request).await
    }

    async fn commit(&self, work: UnitOfWork) -> Result<(), StoreError> {
        self.faults.commit.check(&work)?;
        self.store.commit(work).await
    }

    async fn claim_due(&self, now: Timestamp, lease: Duration, limit: usize) -> Result<Claimed, StoreError> {
        self.store.claim_due(now, lease, limit).await
    }

    fn durability(&self) -> Durability {
        self.store.durability()
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    fn admin(&self) -> &dyn StoreAdmin {
        self.store.admin()
    }
}

/// A broker that takes back the right to settle what it handed out.
#[derive(Debug, Clone)]
pub(crate) struct Revoking {
    broker: LocalBroker,
    revoked: watch::Sender<usize>,
    acknowledged: Arc<AtomicUsize>,
}

impl Revoking {
    pub(crate) fn new(broker: &LocalBroker) -> Self {
        Self {
            broker: broker.clone(),
            revoked: watch::Sender::new(0),
            acknowledged: Arc::default(),
        }
    }

    /// Everything handed out until now comes again.
    pub(crate) fn revoke(&self) {
        self.revoked.send_modify(|times| *times += 1);
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Transport for Revoking {
    fn capabilities(&self) -> Capabilities {
        self.broker.capabilities()
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        self.broker.prepare(topology, mode).await
    }

    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        Ok(Box::new(RevokingReceiver {
            receiver: self.broker.receiver(source, options).await?,
            broker: self.clone(),
        }))
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        self.broker.dispatch(batch).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.broker.health()
    }
}

#[derive(Debug)]
struct RevokingReceiver {
    receiver: Box<dyn Receiver>,
    broker: Revoking,
}

#[async_trait]
impl Receiver for RevokingReceiver {
    async fn receive(&mut self) -> Result<Delivery, TransportError> {
        let delivery = self.receiver.receive().await?;
        let redeliveries = delivery.redeliveries;
        let (incoming, settlement) = delivery.into_parts();
        let settle = RevokingSettle {
            settlement,
            since: *self.broker.revoked.borrow(),
            broker: self.broker.clone(),
        };
        Ok(Delivery::new(incoming, redeliveries, Box::new(settle)))
    }

    async fn close(self: Box<Self>) -> Result<(), TransportError> {
        self.receiver.close().await
    }
}

struct RevokingSettle {
    settlement: Settlement,
    since: usize,
    broker: Revoking,
}

#[async_trait]
impl Settle for RevokingSettle {
    async fn acknowledge(self: Box<Self>) -> Result<Settled, TransportError> {
        self.broker.acknowledged.fetch_add(1, Ordering::SeqCst);
        self.settlement.acknowledge().await
    }

    async fn release(self: Box<Self>, after: Duration) -> Result<Settled, TransportError> {
        self.settlement.release(after).await
    }

    fn lease_lost(&self) -> BoxFuture<'static, ()> {
        let mut revoked = self.broker.revoked.subscribe();
        let since = self.since;
        Box::pin(async move { drop(revoked.wait_for(|times| *times > since).await) })
    }
}
