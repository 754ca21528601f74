//! A broker that keeps messages for a quarter of an hour at most, and one that refuses access.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use longhaul::address::Address;
use longhaul::clock::ManualClock;
use longhaul::prelude::*;
use longhaul::transport::{
    Accepted, Capabilities, Declare, Dispatch, Health, Receiver, ReceiverOptions, Report, Topology,
    Transport, TransportError, TransportErrorKind,
};
use tokio::sync::watch;

use crate::world::{Do, Doer, Ledger, World};

const QUARTER: Duration = Duration::from_secs(900);
/// The largest body that it takes.
const LARGEST: usize = 1000;
const DAY: Duration = Duration::from_secs(86_400);

/// A broker with a limit on delays, which counts what is sent and refuses access while told to.
#[derive(Debug, Clone)]
struct Limited {
    broker: LocalBroker,
    clock: ManualClock,
    sends: Arc<AtomicUsize>,
    /// How far ahead the due time was when it was sent.
    ahead: Arc<Mutex<Vec<Duration>>>,
    denies: Arc<AtomicBool>,
}

impl Limited {
    fn new(world: &World) -> Self {
        Self {
            broker: world.broker.clone(),
            clock: world.clock.clone(),
            sends: Arc::default(),
            ahead: Arc::default(),
            denies: Arc::default(),
        }
    }

    fn sends(&self) -> usize {
        self.sends.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Transport for Limited {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_delay: QUARTER,
            ..self.broker.capabilities()
        }
    }

    fn check(&self, dispatch: &Dispatch) -> Result<(), TransportError> {
        let bytes = dispatch.envelope.body.len();
        if bytes <= LARGEST {
            return Ok(());
        }
        let text = format!("send: with its headers it takes {bytes} bytes, over the limit of {LARGEST}");
        Err(TransportError::new(TransportErrorKind::Invalid, text))
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        self.broker.prepare(topology, mode).await
    }

    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        self.broker.receiver(source, options).await
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        self.sends.fetch_add(batch.len(), Ordering::SeqCst);
        if self.denies.load(Ordering::SeqCst) {
            let denied = || {
                let text = "send: the token has expired: check the credentials";
                Err(TransportError::new(TransportErrorKind::Denied, text))
            };
            return batch.iter().map(|_| denied()).collect();
        }
        let due = batch.iter().filter_map(|dispatch| dispatch.due);
        let ahead = due.map(|due| due.since(self.clock.now()));
        self.ahead.lock().expect("not poisoned").extend(ahead);
        self.broker.dispatch(batch).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.broker.health()
    }
}

#[test]
fn when_access_is_refused_for_a_while_what_was_committed_waits_and_leaves_once_it_is_granted() {
    let world = World::new();
    let broker = Limited::new(&world);
    let did = Ledger::default();
    let _doer = world.start(world.endpoint("doer").handler::<Do>(Doer(did.clone())));
    let client = world.endpoint("client").transport(broker.clone());
    let client = world.start(client.route::<Do>("doer"));
    broker.denies.store(true, Ordering::SeqCst);
    let sent = world.run(client.session.send(Do { what: "sweep".into() }));
    sent.expect("committed");
    world.until("some attempts", || broker.sends() >= 3);
    assert_eq!(world.sizes("client").parked, 0, "nobody has to set it free");
    assert_eq!(world.sizes("client").unsent, 1);
    broker.denies.store(false, Ordering::SeqCst);
    world.until("the command", || did.len() == 1);
}

#[test]
fn when_a_delay_is_longer_than_the_broker_keeps_it_waits_as_one_row_and_costs_one_send() {
    let world = World::new();
    let broker = Limited::new(&world);
    let did = Ledger::default();
    let client = world.endpoint("client").transport(broker.clone());
    let client = client.settings(|settings| settings.purge_interval = DAY);
    let client = world.start(client.route::<Do>("doer"));
    // The receiver has been there once, and is away for twenty days.
    let doer = world.start(world.endpoint("doer").handler::<Do>(Doer(did.clone())));
    doer.stop(&world).expect("stops");
    let mut batch = client.session.begin();
    batch.send(Do { what: "sweep".into() }).after(DAY * 20);
    world.run(batch.commit()).expect("committed");
    world.pass(DAY * 20 - QUARTER - Duration::from_secs(1));
    assert_eq!((broker.sends(), world.sizes("client").unsent), (0, 1));
    world.pass(QUARTER + Duration::from_secs(3600));
    assert_eq!((broker.sends(), world.sizes("client").unsent), (1, 0));
    let ahead = broker.ahead.lock().expect("not poisoned").clone();
    assert!(ahead.len() == 1 && ahead[0] <= QUARTER, "{ahead:?}");
    let _doer = world.start(world.endpoint("doer").handler::<Do>(Doer(did.clone())));
    world.until("the command", || did.len() == 1);
    assert_eq!(broker.sends(), 1);
}

#[test]
fn when_the_transport_can_not_send_a_message_it_is_refused_before_it_is_committed() {
    let world = World::new();
    let broker = Limited::new(&world);
    let client = world.endpoint("client").transport(broker.clone());
    let client = world.start(client.route::<Do>("doer"));
    let mut batch = client.session.begin();
    batch.send(Do { what: "small".into() });
    batch.send(Do {
        what: "x".repeat(LARGEST),
    });
    let error = world.run(batch.commit()).expect_err("refused");
    assert!(error.to_string().contains("over the limit of 1000"), "{error}");
    world.pass(Duration::from_secs(60));
    assert_eq!((broker.sends(), world.sizes("client").unsent), (0, 0));
}
