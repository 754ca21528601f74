//! Messages that wait in line for others.

use std::sync::Arc;
use std::time::Duration;

use longhaul::envelope::Incoming;
use longhaul::prelude::*;
use longhaul::transport::Declare;
use tokio::sync::Notify;

use crate::world::{Do, Done, Ledger, World, command};

/// Waits with `slow` until it is told to go on.
struct Gate {
    ledger: Ledger,
    open: Arc<Notify>,
}

impl Handler<Done> for Gate {
    async fn handle(&self, event: Done, _: &mut Context) -> HandlerResult {
        self.ledger.note(event.what);
        Ok(())
    }
}

impl Handler<Do> for Gate {
    async fn handle(&self, message: Do, _: &mut Context) -> HandlerResult {
        if message.what == "slow" {
            self.open.notified().await;
        }
        self.ledger.note(message.what);
        Ok(())
    }
}

#[test]
fn when_many_wait_for_one_key_others_are_handled_meanwhile() {
    let world = World::new();
    let (ledger, open) = (Ledger::default(), Arc::new(Notify::new()));
    let gate = Gate {
        ledger: ledger.clone(),
        open: Arc::clone(&open),
    };
    let builder = world.endpoint("in").handler::<Do>(gate).concurrency(2);
    let running = world.start(builder);
    for _ in 0..20 {
        world.inject("in", Incoming::from(command("m-slow", "slow")));
    }
    world.inject("in", Incoming::from(command("m-quick", "quick")));
    world.until("the other message is handled", || ledger.len() == 1);
    assert_eq!(ledger.entries(), ["quick"]);
    open.notify_one();
    world.until("the line is done", || running.monitor.stats().duplicates == 19);
    assert_eq!(ledger.entries(), ["quick", "slow"]);
}

#[test]
fn when_one_message_may_be_handled_at_once_a_second_one_waits() {
    let world = World::new();
    let (ledger, open) = (Ledger::default(), Arc::new(Notify::new()));
    let gate = Gate {
        ledger: ledger.clone(),
        open: Arc::clone(&open),
    };
    let _running = world.start(world.endpoint("in").handler::<Do>(gate).concurrency(1));
    world.inject("in", Incoming::from(command("m-1", "slow")));
    world.inject("in", Incoming::from(command("m-2", "quick")));
    world.pass(Duration::from_secs(10));
    assert_eq!(ledger.entries(), [""; 0]);
    open.notify_one();
    world.until("both are handled", || ledger.len() == 2);
    assert_eq!(ledger.entries(), ["slow", "quick"]);
}

#[test]
fn when_a_subscription_is_retired_while_queues_are_only_verified_it_is_removed_later() {
    let world = World::new();
    let ledger = Ledger::default();
    let both = |ledger: &Ledger| {
        let gate = || Gate {
            ledger: ledger.clone(),
            open: Arc::default(),
        };
        world.endpoint("in").handler::<Do>(gate()).handler::<Done>(gate())
    };
    world.start(both(&ledger)).stop(&world).expect("stops");
    let only = |mode| {
        let gate = Gate {
            ledger: ledger.clone(),
            open: Arc::default(),
        };
        world.endpoint("in").handler::<Do>(gate).declare(mode)
    };
    let client = world.start(world.stateless("client"));
    let publish = || {
        let done = Done {
            what: String::from("x"),
        };
        world.run(client.session.publish(done)).expect("published");
    };
    world.start(only(Declare::Verify)).stop(&world).expect("stops");
    publish();
    assert_eq!(world.browse("in").len(), 1, "it is bound still");
    world.start(only(Declare::Declare)).stop(&world).expect("stops");
    let before = world.browse("in").len() + world.browse("error").len();
    publish();
    assert_eq!(
        world.browse("in").len() + world.browse("error").len(),
        before,
        "it is bound no more"
    );
}
