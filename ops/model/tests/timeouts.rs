//! Timeouts that an operator cancels and moves: with the saga's record, also while its endpoint changes it.

#![expect(clippy::unwrap_used, reason = "a test fails where something goes wrong")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use longhaul_core::Command;
use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, SystemClock, Timestamp};
use longhaul_core::endpoint::Endpoint;
use longhaul_core::handler::HandlerResult;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{
    Claimed, Durability, LoadRequest, Loaded, Persistence, RecordChange, RecordKey, Store, StoreAdmin,
    StoreError, UnitOfWork,
};
use longhaul_local::LocalBroker;
use longhaul_memory::Memory;
use longhaul_ops::errors::OpsErrorKind;
use longhaul_ops::stored::StoredState;
use longhaul_sagas::{Definition, Saga, SagaContext, SagaEndpoint};
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[message("sales.place_order.v1")]
struct PlaceOrder {
    order: u64,
}

/// Waits for a payment that never comes.
#[derive(Serialize, Deserialize)]
struct Order {}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Deadline {
    PaymentOverdue,
}

impl Saga for Order {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &PlaceOrder| m.order, Self::start);
        saga.times_out(|_, _, ctx| {
            ctx.complete();
            Ok(())
        });
    }
}

impl Order {
    fn start(_: PlaceOrder, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        ctx.request_timeout(Duration::from_secs(86_400), Deadline::PaymentOverdue);
        Ok(Self {})
    }
}

/// The store of an endpoint that has started one order, and the id of the order's timeout.
async fn one_order() -> (Arc<dyn Store>, String) {
    let store = Memory::pretending_durable();
    let endpoint = Endpoint::builder("sales")
        .transport(LocalBroker::in_memory(Arc::new(SystemClock)))
        .persistence(store.clone())
        .saga::<Order>()
        .route::<PlaceOrder>("sales")
        .build()
        .await
        .unwrap();
    let (session, monitor) = (endpoint.session(), endpoint.monitor());
    let (done, stop) = tokio::sync::oneshot::channel::<()>();
    let running = endpoint.run_until(async { drop(stop.await) });
    let placed = async {
        session.send(PlaceOrder { order: 7 }).await.unwrap();
        while monitor.stats().handled == 0 {
            tokio::task::yield_now().await;
        }
        drop(done);
    };
    let both = async { tokio::join!(running, placed).0.unwrap() };
    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    let store = store.open(&Address::new("sales").unwrap()).await.unwrap();
    let rows = store.admin().pending(None, 9).await.unwrap();
    assert_eq!(rows.len(), 1);
    (store, rows[0].id.to_string())
}

/// A store in which an endpoint changes the order's record just before each of the next commits.
#[derive(Debug)]
struct Contended {
    store: Arc<dyn Store>,
    changes: AtomicUsize,
}

#[async_trait]
impl Store for Contended {
    async fn load(&self, request: &LoadRequest) -> Result<Loaded, StoreError> {
        self.store.load(request).await
    }

    async fn commit(&self, work: UnitOfWork) -> Result<(), StoreError> {
        let is_left = |left: usize| left.checked_sub(1);
        if self
            .changes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_left)
            .is_ok()
        {
            let record = self.store.admin().records("saga/order", None, 1).await?.remove(0);
            let change = RecordChange::Put {
                key: record.key,
                expected: Some(record.version),
                body: record.body,
                expires: None,
            };
            let records = vec![change];
            self.store
                .commit(UnitOfWork {
                    records,
                    ..UnitOfWork::default()
                })
                .await?;
        }
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

fn state(store: &Arc<dyn Store>) -> StoredState {
    StoredState::new(Arc::clone(store), Arc::new(SystemClock))
}

#[tokio::test]
async fn when_the_endpoint_changes_the_instance_meanwhile_a_timeout_is_cancelled_all_the_same() {
    let (store, id) = one_order().await;
    let contended: Arc<dyn Store> = Arc::new(Contended {
        store: Arc::clone(&store),
        changes: AtomicUsize::new(3),
    });
    let row = state(&contended).cancel_timeout(&id).await.unwrap();
    assert_eq!((row.id, row.note), (id.clone(), None));
    assert!(store.admin().pending(None, 9).await.unwrap().is_empty());
    let order = state(&store).saga("order", "7").await.unwrap();
    assert!(order.timeouts.is_empty());
    let again = state(&store).cancel_timeout(&id).await.unwrap_err();
    assert_eq!(again.kind(), OpsErrorKind::NoSuchMessage);
}

#[tokio::test]
async fn when_the_instance_never_holds_still_nothing_is_changed() {
    let (store, id) = one_order().await;
    let contended: Arc<dyn Store> = Arc::new(Contended {
        store: Arc::clone(&store),
        changes: AtomicUsize::new(1_000),
    });
    let due = SystemClock.now();
    let error = state(&contended).move_timeout(&id, due).await.unwrap_err();
    assert_eq!(error.kind(), OpsErrorKind::Store);
    let rows = store.admin().pending(None, 9).await.unwrap();
    assert_ne!(rows[0].due, Some(due));
}

#[tokio::test]
async fn when_the_instance_can_t_be_read_or_does_not_wait_the_row_alone_is_changed_and_it_says_so() {
    let (store, id) = one_order().await;
    let record = store
        .admin()
        .records("saga/order", None, 1)
        .await
        .unwrap()
        .remove(0);
    let unreadable = RecordChange::Put {
        key: record.key,
        expected: Some(record.version),
        body: "not an instance".into(),
        expires: None,
    };
    let work = UnitOfWork {
        records: vec![unreadable],
        ..UnitOfWork::default()
    };
    store.commit(work).await.unwrap();
    let due = SystemClock.now() + Duration::from_secs(3600);
    let moved = state(&store).move_timeout(&id, due).await.unwrap();
    assert_eq!(moved.due, Some(due));
    assert!(moved.note.is_some(), "{moved:?}");
    let cancelled = state(&store).cancel_timeout(&id).await.unwrap();
    assert!(cancelled.note.is_some(), "{cancelled:?}");
    assert!(store.admin().pending(None, 9).await.unwrap().is_empty());
    // What stands there is as it was.
    let request = LoadRequest {
        inbox: MessageId::new("nobody").unwrap(),
        records: vec![RecordKey::new("saga/order", "7")],
        pending: None,
        now: SystemClock.now(),
    };
    let record = store.load(&request).await.unwrap().records.remove(0).unwrap();
    assert_eq!(&record.body[..], b"not an instance");
}
