//! Circuit breakers: what is behind one is probed, and messages wait at no cost to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longhaul::clock::ManualClock;
use longhaul::envelope::Envelope;
use longhaul::headers;
use longhaul::prelude::*;
use longhaul::recoverability::{BreakerPolicy, BreakerState};
use longhaul::store::StoreErrorKind;
use serde::{Deserialize, Serialize};

use crate::faults::{Faults, Faulty};
use crate::world::{Do, Ledger, Noter, World, command};

/// Asks the bank for something.
#[derive(Debug, Command, Serialize, Deserialize)]
#[message("test.ask.v1")]
pub(crate) struct Ask {
    pub(crate) what: String,
}

pub(crate) fn ask(id: impl std::fmt::Display, what: &str) -> Envelope {
    let mut ask = command(&id.to_string(), what);
    ask.headers.set(headers::TYPE, Ask::NAME);
    ask
}

/// Two attempts in four rounds, at once and after 10, 20 and 40 s.
const POLICY: RetryPolicy = RetryPolicy {
    immediate: 1,
    delayed: 3,
    jitter: false,
    ..RetryPolicy::machine()
};

/// A bank that may be down; notes when it was called, in seconds since the beginning.
#[derive(Clone)]
pub(crate) struct Bank {
    clock: ManualClock,
    begin: Timestamp,
    is_down: Arc<AtomicBool>,
    pub(crate) calls: Ledger,
    pub(crate) did: Ledger,
}

impl Bank {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            clock: world.clock.clone(),
            begin: world.clock.now(),
            is_down: Arc::default(),
            calls: Ledger::default(),
            did: Ledger::default(),
        }
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }
}

impl Handler<Ask> for Bank {
    fn depends_on(&self) -> Option<&str> {
        Some("bank")
    }

    async fn handle(&self, ask: Ask, _ctx: &mut Context) -> HandlerResult {
        let since = self.clock.now().since(self.begin);
        self.calls.note(since.as_secs().to_string());
        self.clock
            .sleep_until(self.clock.now() + Duration::from_millis(10))
            .await;
        if self.is_down.load(Ordering::SeqCst) {
            return Err(HandlerError::transient("ask the bank: it does not answer"));
        }
        self.did.note(ask.what);
        Ok(())
    }
}

#[test]
fn when_a_destination_fails_five_times_its_messages_wait_and_those_of_others_do_not() {
    for has_store in [true, false] {
        let world = World::new();
        let (bank, did) = (Bank::new(&world), Ledger::default());
        bank.set_down(true);
        let doer = if has_store {
            world.endpoint("doer")
        } else {
            world.stateless("doer")
        };
        let doer = doer
            .idempotent_handler::<Ask>(bank.clone())
            .idempotent_handler::<Do>(Noter(did.clone()))
            .retries(POLICY)
            .concurrency(1);
        let doer = world.start(doer);
        let breakers = doer.monitor.breakers();
        for n in 0..10 {
            world.inject("doer", ask(n, "money").into());
            world.inject("doer", command(&format!("do-{n}"), "sweep").into());
        }
        world.until("the others", || did.len() == 10);
        let state = |state| breakers.borrow().destinations["bank"] == state;
        assert!(!state(BreakerState::Closed));
        assert_eq!(breakers.borrow().endpoint, BreakerState::Closed);
        assert_eq!(bank.calls.len(), 5, "it opens at the fifth failure in a row");
        world.pass(Duration::from_secs(60));
        let probes = bank.calls.len() - 5;
        assert!((10..=12).contains(&probes), "{probes} probes in a minute");
        bank.set_down(false);
        world.until("all", || bank.did.len() == 10);
        assert!(state(BreakerState::Closed));
        assert_eq!(world.browse("error").len(), 0);
        assert_eq!(doer.monitor.stats().breaker_openings, 1);
    }
}

#[test]
fn when_everything_fails_the_endpoint_takes_one_message_at_a_time_and_the_queue_keeps_the_others() {
    let world = World::new();
    let bank = Unnamed(Bank::new(&world));
    bank.0.set_down(true);
    let doer = world
        .endpoint("doer")
        .handler::<Ask>(bank.clone())
        .retries(POLICY)
        .concurrency(1)
        .prefetch(1);
    let doer = world.start(doer);
    for n in 0..100 {
        world.inject("doer", ask(n, "money").into());
    }
    world.until("it open", || doer.monitor.stats().breaker_openings == 1);
    assert_eq!(
        bank.0.calls.len(),
        9,
        "five messages in a row: four failed twice, one once"
    );
    let received = doer.monitor.stats().received;
    world.pass(Duration::from_secs(60));
    let probes = bank.0.calls.len() - 9;
    assert!((10..=12).contains(&probes), "{probes} probes in a minute");
    let more = doer.monitor.stats().received - received;
    assert!(more <= 12, "took {more} while it was open");
    bank.0.set_down(false);
    world.until("all", || bank.0.did.len() == 100);
    assert_eq!(world.browse("error").len(), 0);
}

/// A bank that its handler does not name.
#[derive(Clone)]
struct Unnamed(Bank);

impl Handler<Ask> for Unnamed {
    async fn handle(&self, ask: Ask, ctx: &mut Context) -> HandlerResult {
        Handler::<Ask>::handle(&self.0, ask, ctx).await
    }
}

#[test]
fn when_one_message_fails_again_and_again_the_breaker_stays_closed() {
    let world = World::new();
    let bank = Unnamed(Bank::new(&world));
    bank.0.set_down(true);
    let doer = world.start(
        world
            .endpoint("doer")
            .handler::<Ask>(bank.clone())
            .retries(POLICY),
    );
    world.inject("doer", ask("m-1", "money").into());
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(bank.0.calls.len(), 8);
    assert_eq!(doer.monitor.stats().breaker_openings, 0);
}

#[test]
fn when_the_breaker_is_off_every_message_goes_by_its_policy_alone() {
    let world = World::new();
    let bank = Bank::new(&world);
    bank.set_down(true);
    let doer = world
        .endpoint("doer")
        .handler::<Ask>(bank.clone())
        .retries(POLICY)
        .settings(|settings| settings.breaker = None);
    let _doer = world.start(doer);
    for n in 0..20 {
        world.inject("doer", ask(n, "money").into());
    }
    world.until("the errors", || world.browse("error").len() == 20);
    assert_eq!(bank.calls.len(), 160);
}

#[test]
fn when_more_wait_than_may_they_are_put_off_and_have_all_their_attempts_later() {
    let world = World::new();
    let (bank, did) = (Bank::new(&world), Ledger::default());
    bank.set_down(true);
    let patient = RetryPolicy {
        delayed: u32::MAX,
        ..POLICY
    };
    let doer = world
        .endpoint("doer")
        .handler::<Ask>(bank.clone())
        .handler::<Do>(Noter(did.clone()))
        .retries(patient)
        .concurrency(2)
        .prefetch(8);
    let doer = world.start(doer);
    for n in 0..50 {
        world.inject("doer", ask(n, "money").into());
    }
    world.inject("doer", command("do", "sweep").into());
    world.until("the other", || did.len() == 1);
    world.pass(Duration::from_secs(3600));
    assert!(doer.monitor.stats().deferred > 50);
    let attempts = doer.monitor.stats().failures;
    assert!(
        attempts <= 6 + 3600 / 5,
        "{attempts} attempts: nothing but a probe counts"
    );
    bank.set_down(false);
    world.pass(Duration::from_secs(3600));
    assert_eq!(bank.did.len(), 50);
    assert_eq!(world.browse("error").len(), 0);
}

#[test]
fn when_a_message_was_put_off_for_days_and_then_fails_it_still_has_all_its_attempts() {
    let world = World::new();
    let bank = Bank::new(&world);
    bank.set_down(true);
    let policy = RetryPolicy {
        give_up_after: Duration::from_secs(600),
        ..POLICY
    };
    let start = || {
        let doer = world.endpoint("doer").handler::<Ask>(Poisoned(bank.clone()));
        world.start(doer.retries(policy).prefetch(2).concurrency(1))
    };
    let doer = start();
    for n in 0..20 {
        world.inject("doer", ask(n, if n == 19 { "poison" } else { "money" }).into());
    }
    world.pass(Duration::from_secs(2));
    assert!(doer.monitor.stats().deferred > 0);
    doer.stop(&world).expect("stops");
    world.pass(Duration::from_secs(2 * 86_400));
    bank.set_down(false);
    let _doer = start();
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.attempts"), "8");
    let names = world.browse("error").remove(0).incoming.headers;
    assert!(names.iter().all(|(name, _)| name != "longhaul.deferred"));
}

/// A bank that never takes poison.
#[derive(Clone)]
struct Poisoned(Bank);

impl Handler<Ask> for Poisoned {
    fn depends_on(&self) -> Option<&str> {
        self.0.depends_on()
    }

    async fn handle(&self, ask: Ask, ctx: &mut Context) -> HandlerResult {
        let is_poison = ask.what == "poison";
        Handler::<Ask>::handle(&self.0, ask, ctx).await?;
        if is_poison {
            return Err(HandlerError::unexpected("the bank does not take poison"));
        }
        Ok(())
    }
}

#[test]
fn when_the_endpoint_stops_what_waits_is_given_back_at_once() {
    let world = World::new();
    let bank = Bank::new(&world);
    bank.set_down(true);
    let doer = world.start(
        world
            .endpoint("doer")
            .handler::<Ask>(bank.clone())
            .retries(POLICY),
    );
    for n in 0..50 {
        world.inject("doer", ask(n, "money").into());
    }
    world.until("it open", || doer.monitor.stats().breaker_openings == 1);
    let begin = world.clock.now();
    doer.stop(&world).expect("stops");
    assert!(world.clock.now().since(begin) < Duration::from_secs(3));
    bank.set_down(false);
    let _doer = world.start(
        world
            .endpoint("doer")
            .handler::<Ask>(bank.clone())
            .retries(POLICY),
    );
    world.until("all", || bank.did.len() == 50);
    assert_eq!(bank.did.len(), 50);
}

#[test]
fn when_a_message_must_run_alone_those_that_wait_for_a_destination_make_room() {
    let world = World::new();
    let (bank, did) = (Bank::new(&world), Ledger::default());
    let start = || {
        let doer = world.endpoint("doer").handler::<Ask>(bank.clone());
        world.start(doer.handler::<Do>(Noter(did.clone())).retries(POLICY))
    };
    start().stop(&world).expect("stops");
    world.inject("doer", command("suspect", "sweep").into());
    for _ in 0..4 {
        world.take_and_drop("doer");
    }
    world.delete_queue("doer");
    bank.set_down(true);
    let doer = start();
    for n in 0..20 {
        world.inject("doer", ask(n, "money").into());
    }
    world.until("it open", || doer.monitor.stats().breaker_openings == 1);
    world.inject("doer", command("suspect", "sweep").into());
    world.until("the other", || did.len() == 1);
}

#[test]
fn when_the_store_is_away_the_endpoint_asks_it_once_in_a_while() {
    let world = World::new();
    let (faults, did) = (Faults::default(), Ledger::default());
    let doer = world
        .stateless("doer")
        .persistence(Faulty {
            memory: world.memory.clone(),
            faults: faults.clone(),
        })
        .handler::<Do>(Noter(did.clone()));
    let doer = world.start(doer);
    faults.fail_loads(usize::MAX, |_| Some(StoreErrorKind::Unavailable));
    for n in 0..200 {
        world.inject("doer", command(&n.to_string(), "sweep").into());
    }
    world.until("it open", || doer.monitor.stats().breaker_openings == 1);
    world.pass(Duration::from_secs(10));
    let before = doer.monitor.stats().failures;
    world.pass(Duration::from_secs(60));
    let asked = doer.monitor.stats().failures - before;
    assert!((10..=13).contains(&asked), "asked {asked} times in a minute");
    faults.heal();
    world.until("all", || did.len() == 200);
    assert_eq!(world.browse("error").len(), 0);
}

#[test]
fn when_a_breaker_is_for_a_destination_that_no_handler_names_the_endpoint_is_refused() {
    let world = World::new();
    let builder = world
        .endpoint("doer")
        .handler::<Do>(Noter(Ledger::default()))
        .breaker("bank", BreakerPolicy::default());
    let error = world.run(builder.build()).expect_err("refused");
    assert!(error.to_string().contains("`depends_on`"), "{error}");
}
