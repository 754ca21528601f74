//! The cases.

#![expect(clippy::expect_used, reason = "a case that can't go on says so")]

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::admin::{Found, Pass, QueueAdmin};
use longhaul_core::clock;
use longhaul_core::envelope::{self, Envelope};
use longhaul_core::headers::Headers;
use longhaul_core::ids::MessageId;
use longhaul_core::limits::Limits;
use longhaul_core::transport::{
    Declare, Destination, Dispatch, ReceiverOptions, Topology, Transport, TransportErrorKind,
};

use crate::admin_suite::AdminFixture;

/// How often it is looked whether a queue holds what it is to hold.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

struct Bench<'a> {
    fixture: &'a dyn AdminFixture,
    transport: Arc<dyn Transport>,
    admin: Arc<dyn QueueAdmin>,
    queue: Address,
}

impl<'a> Bench<'a> {
    /// An error queue with the messages `0..count`.
    async fn new(fixture: &'a dyn AdminFixture, count: usize) -> Self {
        let (transport, admin) = fixture.admin().await;
        let bench = Self {
            fixture,
            transport,
            admin,
            queue: Address::new(fixture.unique("errors")).expect("an address"),
        };
        let topology = Topology {
            error_queues: vec![bench.queue.clone()],
            ..Topology::default()
        };
        let prepared = bench.transport.prepare(&topology, Declare::Declare);
        bench.within("prepare", prepared).await.expect("prepared");
        bench.send(0..count).await;
        bench
    }

    async fn within<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let clock = self.fixture.clock();
        let limit = self.fixture.patience();
        let ended = clock::within(&*clock, limit, future).await;
        ended.unwrap_or_else(|| panic!("{what} did not end within {limit:?}"))
    }

    async fn send(&self, numbers: std::ops::Range<usize>) {
        let batch: Vec<_> = numbers.map(|number| self.dispatch(number)).collect();
        for part in batch.chunks(self.transport.capabilities().max_batch) {
            for result in self.within("send", self.transport.dispatch(part)).await {
                result.expect("is taken");
            }
        }
    }

    fn dispatch(&self, number: usize) -> Dispatch {
        Dispatch {
            envelope: message(number),
            to: Destination::Queue(self.queue.clone()),
            due: None,
        }
    }

    /// Waits until the queue holds so many messages: brokers may say so only a moment after they have taken them.
    async fn holds(&self, count: u64) {
        let clock = self.fixture.clock();
        self.within(&format!("{count} messages in the queue"), async {
            while self.admin.depth(&self.queue).await.expect("a depth").ready != count {
                clock.sleep(LOOK_AGAIN).await;
            }
        })
        .await;
    }

    async fn begin(&self) -> Box<dyn Pass> {
        let pass = self.admin.look_through(&self.queue);
        let pass = self.within("begin a pass", pass).await;
        pass.unwrap_or_else(|error| panic!("failed to {error}"))
    }

    async fn refused(&self, queue: &Address) -> TransportErrorKind {
        let pass = self.within("begin a pass", self.admin.look_through(queue)).await;
        pass.expect_err("is refused").kind()
    }

    /// What is left of a pass, taken in pages of `limit`.
    async fn rest(&self, pass: &mut Box<dyn Pass>, limit: usize) -> Vec<Found> {
        let mut all = Vec::new();
        loop {
            let page = self
                .within("take a page", pass.next(limit))
                .await
                .expect("a page");
            if page.is_empty() {
                return all;
            }
            assert!(page.len() <= limit, "{} in a page of {limit}", page.len());
            all.extend(page);
        }
    }

    async fn close(&self, pass: Box<dyn Pass>) {
        self.within("close", pass.close()).await.expect("closed");
    }

    /// All ids in the queue, in the order in which a receiver gets them.
    async fn received(&self, count: usize) -> Vec<String> {
        let receiver = self.transport.receiver(&self.queue, ReceiverOptions::default());
        let mut receiver = self.within("receive", receiver).await.expect("a receiver");
        let mut all = Vec::new();
        for _ in 0..count {
            let delivery = self
                .within("receive", receiver.receive())
                .await
                .expect("a message");
            let (incoming, settlement) = delivery.into_parts();
            all.push(String::from_utf8(incoming.id.expect("an id")).expect("text"));
            settlement.acknowledge().await.expect("settled");
        }
        let silence = self.fixture.silence();
        let more = clock::within(&*self.fixture.clock(), silence, receiver.receive()).await;
        assert!(more.is_none(), "there is one more message");
        self.within("close", receiver.close()).await.expect("closed");
        all
    }
}

fn message(number: usize) -> Envelope {
    let headers = Headers::from_iter([("tenant", "acme"), ("longhaul.error.reason", "bad-body")]);
    let body = Bytes::from(vec![u8::try_from(number % 256).unwrap_or(0); 100]);
    Envelope::new(MessageId::new(number.to_string()).expect("an id"), headers, body)
}

fn ids(found: &[Found]) -> Vec<String> {
    let id = |found: &Found| String::from_utf8(found.incoming.id.clone().expect("an id")).expect("text");
    found.iter().map(id).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// "From its front to what was its end"; "what was shown goes back to its place".
pub async fn when_a_queue_is_looked_through_all_of_it_is_shown_and_stays_in_its_order(
    fixture: &dyn AdminFixture,
) {
    let bench = Bench::new(fixture, 120).await;
    for limit in [50, 1000] {
        bench.holds(120).await;
        let mut pass = bench.begin().await;
        assert_eq!(pass.expected(), 120);
        assert_eq!(ids(&bench.rest(&mut pass, limit).await), numbers(0..120));
        bench.close(pass).await;
    }
    assert_eq!(bench.received(120).await, numbers(0..120));
}

/// However many pages there are.
pub async fn when_pages_are_many_the_order_stays(fixture: &dyn AdminFixture) {
    let bench = Bench::new(fixture, 200).await;
    let mut pass = bench.begin().await;
    assert_eq!(ids(&bench.rest(&mut pass, 4).await), numbers(0..200));
    bench.close(pass).await;
    assert_eq!(bench.received(200).await, numbers(0..200));
}

/// "Nothing is taken out but what `remove` names", and naming it twice is fine.
pub async fn when_some_are_removed_only_those_are_gone(fixture: &dyn AdminFixture) {
    let bench = Bench::new(fixture, 30).await;
    let mut pass = bench.begin().await;
    let found = bench.rest(&mut pass, 10).await;
    let even: Vec<_> = found.iter().step_by(2).map(|found| found.place).collect();
    for _ in 0..2 {
        bench.within("remove", pass.remove(&even)).await.expect("removed");
    }
    bench.close(pass).await;
    let odd: Vec<_> = numbers(0..30).into_iter().skip(1).step_by(2).collect();
    assert_eq!(bench.received(15).await, odd);
}

/// "The message as it lies there": passed on, it is the same.
pub async fn when_a_message_is_shown_it_is_as_it_was_sent(fixture: &dyn AdminFixture) {
    let bench = Bench::new(fixture, 1).await;
    let mut pass = bench.begin().await;
    let found = bench.rest(&mut pass, 10).await.remove(0);
    bench.close(pass).await;
    let read = envelope::read(&found.incoming, &Limits::default()).expect("readable");
    assert_eq!(read, message(0));
}

/// "What comes in meanwhile is not shown."
pub async fn when_a_message_comes_meanwhile_it_is_not_shown(fixture: &dyn AdminFixture) {
    let bench = Bench::new(fixture, 5).await;
    let mut pass = bench.begin().await;
    bench.send(5..8).await;
    assert_eq!(ids(&bench.rest(&mut pass, 2).await), numbers(0..5));
    bench.close(pass).await;
    bench.holds(8).await;
    let mut pass = bench.begin().await;
    assert_eq!(bench.rest(&mut pass, 100).await.len(), 8);
    bench.close(pass).await;
}

/// The same of a queue that was empty when the look began; where counts are estimates, what came since may be shown, each once.
pub async fn when_a_message_comes_into_an_empty_queue_meanwhile_it_is_not_shown(fixture: &dyn AdminFixture) {
    let bench = Bench::new(fixture, 0).await;
    let mut pass = bench.begin().await;
    assert_eq!(pass.expected(), 0);
    bench.send(0..3).await;
    let shown = ids(&bench.rest(&mut pass, 2).await);
    if fixture.counts() {
        assert_eq!(shown, numbers(0..0));
    }
    let once: BTreeSet<&String> = shown.iter().collect();
    assert_eq!(once.len(), shown.len(), "{shown:?}");
    bench.close(pass).await;
    bench.holds(3).await;
}

/// What is sent to the queue again and again while it is looked through does not make the pass endless.
pub async fn when_a_copy_is_sent_before_the_original_is_removed_the_pass_ends_all_the_same(
    fixture: &dyn AdminFixture,
) {
    let bench = Bench::new(fixture, 6).await;
    let mut pass = bench.begin().await;
    let mut seen = 0;
    loop {
        let page = bench.within("take a page", pass.next(2)).await.expect("a page");
        if page.is_empty() {
            break;
        }
        for found in page {
            bench.send(100 + seen..101 + seen).await;
            bench
                .within("remove", pass.remove(&[found.place]))
                .await
                .expect("removed");
            seen += 1;
        }
    }
    assert_eq!(seen, 6);
    bench.close(pass).await;
    assert_eq!(bench.received(6).await, numbers(100..106));
}

/// "Only one pass at a time is let through."
pub async fn when_two_look_through_one_queue_the_second_is_refused_until_the_first_is_done(
    fixture: &dyn AdminFixture,
) {
    let bench = Bench::new(fixture, 3).await;
    let pass = bench.begin().await;
    assert_eq!(bench.refused(&bench.queue).await, TransportErrorKind::InUse);
    bench.close(pass).await;
    let pass = bench.begin().await;
    bench.close(pass).await;
}

/// "When the pass is closed or dropped": nothing is lost either way.
pub async fn when_a_pass_is_dropped_what_it_showed_is_there_and_the_next_one_is_let_in(
    fixture: &dyn AdminFixture,
) {
    let bench = Bench::new(fixture, 10).await;
    let mut pass = bench.begin().await;
    assert!(
        !bench
            .within("take a page", pass.next(5))
            .await
            .expect("a page")
            .is_empty()
    );
    drop(pass);
    let mut shown = Vec::new();
    // What was taken may still be on its way back.
    for _ in 0..50 {
        let mut pass = bench.begin().await;
        shown = ids(&bench.rest(&mut pass, 5).await);
        bench.close(pass).await;
        if shown.len() == 10 {
            break;
        }
    }
    shown.sort();
    assert_eq!(shown, numbers(0..10));
}

/// "Empty: it is through."
pub async fn when_the_queue_is_empty_the_pass_is_through_at_once(fixture: &dyn AdminFixture) {
    let bench = Bench::new(fixture, 0).await;
    let mut pass = bench.begin().await;
    assert_eq!(pass.expected(), 0);
    assert!(bench.rest(&mut pass, 10).await.is_empty());
    bench.close(pass).await;
}

/// `Topology` where there is no such queue; looking for it makes none.
pub async fn when_there_is_no_such_queue_it_says_so_and_makes_none(fixture: &dyn AdminFixture) {
    let bench = Bench::new(fixture, 0).await;
    let missing = Address::new(fixture.unique("missing")).expect("an address");
    for _ in 0..2 {
        assert_eq!(bench.refused(&missing).await, TransportErrorKind::Topology);
        let depth = bench.within("look", bench.admin.depth(&missing)).await;
        assert_eq!(depth.expect_err("none").kind(), TransportErrorKind::Topology);
    }
}

/// "On return the broker has been told and has read it": what was taken out does not come back with the end of the pass, however
/// much it was.
pub async fn when_very_many_are_removed_one_by_one_none_comes_back(fixture: &dyn AdminFixture) {
    let bench = Bench::new(fixture, 600).await;
    let mut pass = bench.begin().await;
    loop {
        let page = bench.within("take a page", pass.next(200)).await.expect("a page");
        if page.is_empty() {
            break;
        }
        let places: Vec<_> = page.iter().map(|found| found.place).collect();
        bench
            .within("remove", pass.remove(&places))
            .await
            .expect("removed");
    }
    bench.close(pass).await;
    bench.send(600..601).await;
    assert_eq!(bench.received(1).await, numbers(600..601));
}
