//! Limits of a handler: how many at once, how many in a while, and how an operator changes that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longhaul::clock::ManualClock;
use longhaul::control::ChangeLimit;
use longhaul::prelude::*;
use longhaul::recoverability::Limit;

use crate::breakers::{Ask, ask};
use crate::world::{Do, Ledger, Noter, Running, World, address, command};

const SECOND: Duration = Duration::from_secs(1);

/// Takes a tenth of a second for each, and notes the millisecond at which it began.
#[derive(Clone)]
struct Slow {
    clock: ManualClock,
    begin: Timestamp,
    begun: Ledger,
    at_once: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Slow {
    fn new(world: &World) -> Self {
        Self {
            clock: world.clock.clone(),
            begin: world.clock.now(),
            begun: Ledger::default(),
            at_once: Arc::default(),
            most: Arc::default(),
        }
    }

    fn millis(&self) -> Vec<u64> {
        let begun = self.begun.entries();
        begun
            .iter()
            .map(|millis| millis.parse().expect("a number"))
            .collect()
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// How many began within the last ten seconds.
    fn lately(&self, world: &World) -> usize {
        let now = world.clock.now().since(self.begin).as_millis();
        self.millis()
            .iter()
            .filter(|at| u128::from(**at) + 10_000 > now)
            .count()
    }
}

impl Handler<Ask> for Slow {
    async fn handle(&self, _: Ask, _: &mut Context) -> HandlerResult {
        let now = self.clock.now();
        self.begun.note(now.since(self.begin).as_millis().to_string());
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(at_once, Ordering::SeqCst);
        self.clock.sleep_until(now + SECOND / 10).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn when_a_type_may_have_three_at_once_it_has_and_others_are_not_held_up() {
    for has_store in [true, false] {
        let world = World::new();
        let (slow, did) = (Slow::new(&world), Ledger::default());
        let doer = if has_store {
            world.endpoint("doer")
        } else {
            world.stateless("doer")
        };
        let doer = doer
            .idempotent_handler::<Ask>(slow.clone())
            .idempotent_handler::<Do>(Noter(did.clone()))
            .limit::<Ask>(Limit::none().at_once(3))
            .prefetch(16)
            .concurrency(8);
        let doer = world.start(doer);
        for n in 0..30 {
            world.inject("doer", ask(n, "money").into());
        }
        world.inject("doer", command("do", "sweep").into());
        world.until("the other", || did.len() == 1);
        assert!(slow.begun.len() <= 3, "it waits for none of them");
        world.until("all", || doer.monitor.stats().handled == 31);
        assert_eq!(slow.most(), 3);
        assert_eq!(slow.begun.len(), 30);
    }
}

#[test]
fn when_a_type_has_a_rate_no_second_has_more_attempts_than_that_also_where_they_fail() {
    for fails in [false, true] {
        let world = World::new();
        let slow = Slow::new(&world);
        let policy = RetryPolicy {
            immediate: 3,
            ..RetryPolicy::none()
        };
        let doer = world
            .endpoint("doer")
            .limit::<Ask>(Limit::none().rate(5, SECOND))
            .retries(policy);
        let doer = if fails {
            doer.handler::<Ask>(Failing(slow.clone()))
        } else {
            doer.handler::<Ask>(slow.clone())
        };
        let _doer = world.start(doer);
        let expected = if fails { 80 } else { 20 };
        for n in 0..20 {
            world.inject("doer", ask(n, "money").into());
        }
        world.until("all", || slow.begun.len() == expected);
        let millis = slow.millis();
        for stretch in millis.windows(6) {
            assert!(stretch[5] - stretch[0] >= 1000, "{stretch:?}");
        }
        let took = millis[expected - 1] - millis[0];
        let least = (expected as u64 / 5 - 1) * 1000;
        assert!((least..least + 1000).contains(&took), "{took} ms");
    }
}

/// Does its work, and says that it failed.
struct Failing(Slow);

impl Handler<Ask> for Failing {
    async fn handle(&self, ask: Ask, ctx: &mut Context) -> HandlerResult {
        Handler::<Ask>::handle(&self.0, ask, ctx).await?;
        Err(HandlerError::expected("not today"))
    }
}

fn start(world: &World, slow: &Slow) -> Running {
    let doer = world.endpoint("doer").handler::<Ask>(slow.clone());
    world.start(
        doer.limit::<Ask>(Limit::none().rate(1, SECOND))
            .adjustable_limits(),
    )
}

fn change(world: &World, client: &Session, message: &str, limit: Limit) {
    let mut batch = client.begin();
    let message = message.to_owned();
    batch.send(ChangeLimit { message, limit }).to(address("doer"));
    world.run(batch.commit()).expect("sent");
}

#[test]
fn when_an_operator_changes_a_rate_it_counts_at_once_and_after_a_restart() {
    let world = World::new();
    let slow = Slow::new(&world);
    let doer = start(&world, &slow);
    let client = world.start(world.stateless("client"));
    for n in 0..1000 {
        world.inject("doer", ask(n, "money").into());
    }
    world.pass(SECOND * 20);
    assert!((9..=11).contains(&slow.lately(&world)), "{}", slow.lately(&world));
    change(&world, &client.session, Ask::NAME, Limit::none().rate(10, SECOND));
    world.pass(SECOND * 20);
    assert!(
        (90..=110).contains(&slow.lately(&world)),
        "{}",
        slow.lately(&world)
    );
    doer.stop(&world).expect("stops");
    let _doer = start(&world, &slow);
    world.pass(SECOND * 20);
    assert!(
        (90..=110).contains(&slow.lately(&world)),
        "{}",
        slow.lately(&world)
    );
}

#[test]
fn when_a_change_is_of_a_type_without_a_limit_or_makes_no_sense_it_goes_to_the_error_queue() {
    let world = World::new();
    let doer = start(&world, &Slow::new(&world));
    let client = world.start(world.stateless("client"));
    change(&world, &client.session, "no.such.type", Limit::none().at_once(1));
    change(&world, &client.session, Ask::NAME, Limit::none().at_once(0));
    world.until("both", || world.browse("error").len() == 2);
    assert!(world.error_header(0, "longhaul.error.text").contains("has none"));
    assert!(world.error_header(1, "longhaul.error.text").contains("from 1 to"));
    assert_eq!(doer.monitor.stats().handled, 0);
}

#[test]
fn when_limits_are_not_adjustable_a_change_is_of_an_unknown_type() {
    let world = World::new();
    let slow = Slow::new(&world);
    let doer = world.endpoint("doer").handler::<Ask>(slow);
    let _doer = world.start(doer.limit::<Ask>(Limit::none().at_once(1)));
    let client = world.start(world.stateless("client"));
    change(&world, &client.session, Ask::NAME, Limit::none().at_once(9));
    world.until("it", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "unknown-type");
}

#[test]
fn when_a_limit_makes_no_sense_or_is_of_a_type_that_nothing_handles_the_endpoint_is_refused() {
    let world = World::new();
    let builder = world
        .endpoint("doer")
        .handler::<Do>(Noter(Ledger::default()))
        .limit::<Do>(Limit::none().at_once(0))
        .limit::<Ask>(Limit::none().at_once(1));
    let error = world.run(builder.build()).expect_err("refused").to_string();
    assert!(
        error.contains("from 1 to 100,000") && error.contains("which nothing handles"),
        "{error}"
    );
}
