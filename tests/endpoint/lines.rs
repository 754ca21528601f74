//! Messages that wait in line for others.

use std::sync::Arc;

use longhaul::envelope::Incoming;
use longhaul::prelude::*;
use tokio::sync::Notify;

use crate::world::{Do, Ledger, World, command};

/// Waits with `slow` until it is told to go on.
struct Gate {
    ledger: Ledger,
    open: Arc<Notify>,
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
