//! The claim check around the embedded broker: the contract of transports, with every body kept in a directory; and what
//! happens where bodies can't be kept or read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use longhaul_core::address::Address;
use longhaul_core::claim_check::{BodyError, BodyErrorKind, BodyKey, BodyStore, ClaimCheck, Directory};
use longhaul_core::clock::{Clock, ManualClock, SystemClock, Timestamp};
use longhaul_core::envelope::{Envelope, Incoming, read};
use longhaul_core::headers::{self, Headers};
use longhaul_core::ids::MessageId;
use longhaul_core::limits::Limits;
use longhaul_core::reason::Reason;
use longhaul_core::transport::{
    Accepted, Declare, Delivery, Destination, Dispatch, Receiver, ReceiverOptions, Topology, Transport,
    TransportErrorKind,
};
use longhaul_local::LocalBroker;
use longhaul_testing::transport_suite::TransportFixture;
use longhaul_testing::virtual_time::VirtualTime;
use tempfile::TempDir;

fn start() -> ManualClock {
    ManualClock::starting_at(Timestamp::parse("2026-11-21T00:00:00Z").expect("a time"))
}

struct Kept {
    clock: ManualClock,
    broker: LocalBroker,
    directory: TempDir,
}

impl Kept {
    fn new() -> Self {
        let clock = start();
        Self {
            broker: LocalBroker::in_memory(Arc::new(clock.clone())),
            clock,
            directory: tempfile::tempdir().expect("a directory"),
        }
    }
}

#[async_trait]
impl TransportFixture for Kept {
    async fn transport(&self) -> Arc<dyn Transport> {
        let bodies = Directory::open(self.directory.path()).expect("opens");
        // Almost every body is over this.
        let around = ClaimCheck::new(self.broker.clone(), bodies).over(1);
        Arc::new(around.clock(self.clock.clone()))
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
        let put = self.broker.publish_raw(queue, incoming.clone());
        put.await.expect("is let in");
        true
    }

    async fn delete_queue(&self, queue: &Address) -> bool {
        self.broker.delete_queue(queue).await.expect("deletes")
    }
}

mod kept_in_a_directory {
    use super::Kept;

    longhaul_testing::transport_contract_suite!(Kept::new());
}

/// Bodies in memory that can't be had as often as a test says.
#[derive(Debug, Clone)]
struct Moody {
    bodies: Arc<Mutex<Vec<(BodyKey, Bytes)>>>,
    fails: Arc<AtomicUsize>,
    gets: Arc<AtomicUsize>,
}

impl Moody {
    fn new() -> Self {
        Self {
            bodies: Arc::default(),
            fails: Arc::default(),
            gets: Arc::default(),
        }
    }

    fn fail(&self, times: usize) {
        self.fails.store(times, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), BodyError> {
        let left = self.fails.load(Ordering::SeqCst);
        if left == 0 {
            return Ok(());
        }
        self.fails.store(left - 1, Ordering::SeqCst);
        Err(BodyError::new(
            BodyErrorKind::Unavailable,
            "use the bucket: it is tired",
        ))
    }
}

#[async_trait]
impl BodyStore for Moody {
    async fn put(&self, key: &BodyKey, body: &Bytes) -> Result<(), BodyError> {
        self.check()?;
        self.bodies
            .lock()
            .expect("not poisoned")
            .push((*key, body.clone()));
        Ok(())
    }

    async fn get(&self, key: &BodyKey, _: usize) -> Result<Bytes, BodyError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        let bodies = self.bodies.lock().expect("not poisoned");
        let found = bodies.iter().find(|(have, _)| have == key);
        let missing = || BodyError::new(BodyErrorKind::Missing, "read the body: there is none");
        found.map(|(_, body)| body.clone()).ok_or_else(missing)
    }
}

struct World {
    clock: ManualClock,
    broker: LocalBroker,
    bodies: Moody,
    around: ClaimCheck<LocalBroker>,
    time: VirtualTime,
}

const LARGE: usize = 10_000;

impl World {
    fn new() -> Self {
        Self::with(|around| around)
    }

    fn with(set: impl FnOnce(ClaimCheck<LocalBroker>) -> ClaimCheck<LocalBroker>) -> Self {
        let (clock, bodies) = (start(), Moody::new());
        let broker = LocalBroker::in_memory(Arc::new(clock.clone()));
        let around = ClaimCheck::new(broker.clone(), bodies.clone()).over(1000);
        let world = Self {
            around: set(around.most(100_000).clock(clock.clone())),
            time: VirtualTime::new(clock.clone()),
            clock,
            broker,
            bodies,
        };
        let topology = Topology {
            queues: vec![address("sales")],
            error_queues: vec![address("error")],
            ..Topology::default()
        };
        let prepared = world.around.prepare(&topology, Declare::Declare);
        world.time.block_on(prepared).expect("prepares");
        world
    }

    fn send(&self, sent: &[Dispatch]) -> Vec<Result<Accepted, TransportErrorKind>> {
        let results = self.time.block_on(self.around.dispatch(sent));
        results
            .into_iter()
            .map(|result| result.map_err(|error| error.kind()))
            .collect()
    }

    fn receiver(&self, queue: &str) -> Box<dyn Receiver> {
        let queue = address(queue);
        let opened = self.around.receiver(&queue, ReceiverOptions::default());
        self.time.block_on(opened).expect("opens")
    }

    /// The next message within ten minutes.
    fn next(&self, receiver: &mut Box<dyn Receiver>) -> Option<Delivery> {
        self.time.block_on(async {
            tokio::select! {
                biased;
                came = receiver.receive() => Some(came.expect("receives")),
                () = self.clock.sleep_until(self.clock.now() + Duration::from_secs(600)) => None,
            }
        })
    }

    fn take(&self, receiver: &mut Box<dyn Receiver>) -> Incoming {
        let (incoming, settlement) = self.next(receiver).expect("a message").into_parts();
        self.time.block_on(settlement.acknowledge()).expect("settles");
        incoming
    }
}

fn address(name: &str) -> Address {
    Address::new(name).expect("an address")
}

fn message(id: &str, body: usize) -> Dispatch {
    let body = id.bytes().cycle().take(body).collect::<Vec<u8>>();
    let headers: Headers = [("h".to_owned(), "v".to_owned())].into_iter().collect();
    Dispatch {
        envelope: Envelope::new(MessageId::new(id).expect("an id"), headers, body.into()),
        to: Destination::Queue(address("sales")),
        due: None,
    }
}

const QUEUED: Result<Accepted, TransportErrorKind> = Ok(Accepted::Queued);

#[test]
fn when_a_body_is_large_the_broker_sees_only_its_key_and_the_receiver_all_of_it() {
    let world = World::new();
    let (small, large) = (message("small", 1000), message("large", LARGE));
    assert_eq!(world.send(&[small.clone(), large.clone()]), [QUEUED; 2]);
    let seen = world.broker.browse(&address("sales"), 10).expect("a queue");
    let bodies: Vec<usize> = seen.iter().map(|one| one.incoming.body.len()).collect();
    assert_eq!(bodies, [1000, 0]);
    let mut receiver = world.receiver("sales");
    for sent in [small, large] {
        let came = read(&world.take(&mut receiver), &Limits::default()).expect("readable");
        assert_eq!(came, sent.envelope);
    }
}

#[test]
fn when_bodies_can_t_be_read_for_a_moment_it_is_tried_again_and_the_message_comes() {
    let world = World::new();
    assert_eq!(world.send(&[message("m-1", LARGE)]), [QUEUED]);
    world.bodies.fail(3);
    let mut receiver = world.receiver("sales");
    assert_eq!(world.take(&mut receiver).body.len(), LARGE);
    assert_eq!(world.bodies.gets.load(Ordering::SeqCst), 4);
}

#[test]
fn when_bodies_can_t_be_read_for_long_the_message_is_given_back_and_others_come() {
    let world = World::new();
    assert_eq!(
        world.send(&[message("large", LARGE), message("small", 10)]),
        [QUEUED; 2]
    );
    world.bodies.fail(9);
    let began = world.clock.now();
    let mut receiver = world.receiver("sales");
    assert_eq!(world.take(&mut receiver).id.as_deref(), Some(&b"small"[..]));
    let late = world.take(&mut receiver);
    assert_eq!(late.body.len(), LARGE);
    // Twice given back for five seconds.
    assert!(world.clock.now().since(began) >= Duration::from_secs(10));
}

#[test]
fn when_a_body_is_gone_or_another_one_the_message_is_unreadable_for_that_reason_and_can_be_passed_on() {
    for tamper in [
        (|bodies| bodies.clear()) as fn(&mut Vec<(BodyKey, Bytes)>),
        |bodies| bodies[0].1 = Bytes::from_static(b"another one"),
    ] {
        let world = World::new();
        assert_eq!(world.send(&[message("m-1", LARGE)]), [QUEUED]);
        tamper(&mut world.bodies.bodies.lock().expect("not poisoned"));
        let mut receiver = world.receiver("sales");
        let came = world.take(&mut receiver);
        let envelope = read(&came, &Limits::default()).expect("it can be passed on");
        let reason = envelope.check_body().expect_err("not to be handled").reason();
        assert_eq!(reason, Reason::MissingBody);
        let headers: Headers = came
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
            .collect();
        assert!(headers.get(headers::BODY).is_some());
        let id = MessageId::new("m-1").expect("an id");
        let aside = Dispatch {
            envelope: Envelope::new(id, headers.clone(), came.body),
            to: Destination::Queue(address("error")),
            due: None,
        };
        assert_eq!(world.send(&[aside]), [QUEUED]);
        let seen = world
            .broker
            .browse(&address("error"), 1)
            .expect("a queue")
            .remove(0);
        assert_eq!(seen.incoming.headers.len(), headers.len());
    }
}

#[test]
fn when_a_body_can_t_be_kept_its_message_is_not_sent_and_the_others_are() {
    let world = World::new();
    world.bodies.fail(1);
    let batch = [message("a", 10), message("large", LARGE), message("b", 10)];
    let results = world.send(&batch);
    assert_eq!(results, [QUEUED, Err(TransportErrorKind::Rejected), QUEUED]);
    let seen = world.broker.browse(&address("sales"), 10).expect("a queue");
    assert_eq!(seen.len(), 2);
    assert_eq!(world.send(&batch[1..2]), [QUEUED], "later it works");
}

#[test]
fn when_a_body_is_over_what_may_be_kept_it_is_refused_with_its_size_before_it_is_committed() {
    let world = World::new();
    let huge = message("huge", 100_001);
    let error = world.around.check(&huge).expect_err("refused");
    assert_eq!(error.kind(), TransportErrorKind::Invalid);
    assert!(error.to_string().contains("100001 bytes"), "{error}");
    assert_eq!(world.send(&[huge]), [Err(TransportErrorKind::Invalid)]);
    assert!(world.around.check(&message("just", 100_000)).is_ok());
    assert_eq!(world.around.capabilities().max_body, 100_000);
}

#[test]
fn when_much_is_unsettled_no_more_bodies_are_read_until_some_are_settled() {
    let world = World::with(|around| around.unsettled_bytes(2 * LARGE));
    let batch: Vec<Dispatch> = (0..5)
        .map(|number| message(&format!("m-{number}"), LARGE))
        .collect();
    assert!(world.send(&batch).iter().all(Result::is_ok));
    let mut receiver = world.receiver("sales");
    let first = world.next(&mut receiver).expect("room for it").into_parts().1;
    // Twenty permits of 1 KiB, and ten for each.
    let second = world.next(&mut receiver).expect("room for it").into_parts().1;
    assert!(world.next(&mut receiver).is_none());
    for settlement in [first, second] {
        world.time.block_on(settlement.acknowledge()).expect("settles");
    }
    assert!(world.next(&mut receiver).is_some());
}

#[test]
fn when_bodies_are_old_they_are_removed_and_what_else_is_there_stays() {
    let folder = tempfile::tempdir().expect("a directory");
    let directory = Directory::open(folder.path().join("bodies")).expect("opens");
    let body = Bytes::from_static(b"a body");
    let key = BodyKey::of(&body);
    let time = VirtualTime::new(start());
    time.block_on(directory.put(&key, &body)).expect("kept");
    time.block_on(directory.put(&key, &body)).expect("kept again");
    let theirs = folder.path().join("bodies/theirs.txt");
    std::fs::write(&theirs, "x").expect("written");
    let before = SystemClock.now() - Duration::from_secs(3600);
    assert_eq!(directory.remove_older_than(before).expect("reads"), 0);
    assert_eq!(
        time.block_on(directory.get(&key, body.len())).expect("there"),
        body
    );
    let later = SystemClock.now() + Duration::from_secs(3600);
    assert_eq!(directory.remove_older_than(later).expect("reads"), 1);
    let gone = time.block_on(directory.get(&key, body.len()));
    assert_eq!(gone.map_err(|error| error.kind()), Err(BodyErrorKind::Missing));
    assert!(theirs.exists());
}
