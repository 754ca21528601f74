//! G2, G12: one message id commits at most once per endpoint.

use std::time::Duration;

use longhaul::envelope::Incoming;
use longhaul::prelude::*;

use crate::world::{Do, Doer, Done, Ledger, Running, Watcher, World, command};

fn doer_and_watcher(world: &World) -> (Running, Running, Ledger, Ledger) {
    let (did, saw) = (Ledger::default(), Ledger::default());
    let doer = world.start(world.endpoint("doer").handler::<Do>(Doer(did.clone())));
    let watcher = world.start(world.endpoint("watcher").handler::<Done>(Watcher(saw.clone())));
    (doer, watcher, did, saw)
}

#[test]
fn when_a_message_comes_twice_its_effect_happens_once() {
    let world = World::new();
    let (doer, _watcher, did, saw) = doer_and_watcher(&world);
    for _ in 0..3 {
        world.inject("doer", command("m-1", "sweep").into());
    }
    world.until("the duplicates", || doer.monitor.stats().duplicates == 2);
    world.until("the event", || saw.len() == 1);
    assert_eq!(did.entries(), ["sweep"]);
    world.pass(Duration::from_secs(60));
    assert_eq!(saw.entries(), ["sweep"]);
}

#[test]
fn when_a_message_comes_again_after_a_restart_its_effect_happens_once() {
    let world = World::new();
    let (doer, _watcher, did, saw) = doer_and_watcher(&world);
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the event", || saw.len() == 1);
    doer.stop(&world).expect("stops");
    let doer = world.start(world.endpoint("doer").handler::<Do>(Doer(did.clone())));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the duplicate", || doer.monitor.stats().duplicates == 1);
    assert_eq!(did.entries(), ["sweep"]);
}

#[test]
fn when_ids_differ_only_in_case_both_are_handled() {
    let world = World::new();
    let (_doer, _watcher, did, _) = doer_and_watcher(&world);
    world.inject("doer", command("m-a", "sweep").into());
    world.inject("doer", command("m-A", "dust").into());
    world.until("both", || did.len() == 2);
}

#[test]
fn when_a_message_is_older_than_the_inbox_remembers_it_is_set_aside() {
    let world = World::new();
    let did = Ledger::default();
    let _doer = world.start(world.endpoint("doer").handler::<Do>(Doer(did.clone())));
    let mut late = command("m-1", "sweep");
    late.headers.set(
        "longhaul.time-sent",
        (world.clock.now() - Duration::from_secs(8 * 86_400)).to_string(),
    );
    world.inject("doer", Incoming::from(late.clone()));
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "too-old");
    assert_eq!(did.len(), 0);

    // Due eight days after it was sent is not eight days late.
    let mut delayed = command("m-2", "dust");
    delayed.headers.set(
        "longhaul.time-sent",
        (world.clock.now() - Duration::from_secs(8 * 86_400)).to_string(),
    );
    delayed.headers.set("longhaul.due", world.clock.now().to_string());
    world.inject("doer", delayed.into());
    world.until("the delayed one", || did.len() == 1);
}

#[test]
fn when_a_handler_is_declared_idempotent_old_messages_are_handled() {
    let world = World::new();
    let did = Ledger::default();
    let _doer = world.start(world.endpoint("doer").idempotent_handler::<Do>(Doer(did.clone())));
    let mut late = command("m-1", "sweep");
    late.headers.set(
        "longhaul.time-sent",
        (world.clock.now() - Duration::from_secs(8 * 86_400)).to_string(),
    );
    world.inject("doer", late.into());
    world.until("it", || did.len() == 1);
}

#[test]
fn when_ids_are_older_than_the_retention_they_are_forgotten() {
    let world = World::new();
    let did = Ledger::default();
    let _doer = world.start(world.endpoint("doer").handler::<Do>(Doer(did.clone())));
    for n in 0..10 {
        world.inject("doer", command(&format!("m-{n}"), "sweep").into());
    }
    world.until("all", || did.len() == 10);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.sizes("doer").inbox, 10);
    world.pass(Duration::from_secs(7 * 86_400 + 1200));
    assert_eq!(world.sizes("doer").inbox, 0);
}

#[test]
fn when_several_messages_are_sent_the_client_gets_confirmation_of_each() {
    let world = World::new();
    let (_doer, _watcher, did, _) = doer_and_watcher(&world);
    let client = world.start(world.stateless("client").route::<Do>("doer"));
    for n in 0..100 {
        world
            .run(client.session.send(Do { what: n.to_string() }))
            .expect("sent");
    }
    world.until("all", || did.len() == 100);
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(did.entries(), expected, "messages for one queue keep their order");
}
