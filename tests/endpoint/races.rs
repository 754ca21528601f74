//! G1, G4, G7: lost races, a store that is away for a moment, and rights that are lost in between.

use std::borrow::Cow;
use std::time::Duration;

use longhaul::endpoint::EndpointBuilder;
use longhaul::handler::Received;
use longhaul::message::MessageKind;
use longhaul::prelude::*;
use longhaul::stateful::{Accepts, Effects, StatefulHandler, Taken, Work};
use longhaul::store::{RecordKey, StoreErrorKind};

use crate::faults::{Faults, Faulty, Revoking, is_handling};
use crate::world::{Do, Done, Ledger, Noter, World, command};

/// Notes each `Do` and changes nothing.
struct Pure(Ledger);

impl StatefulHandler for Pure {
    fn name(&self) -> &str {
        "pure"
    }

    fn accepts(&self) -> Vec<Accepts> {
        vec![Accepts {
            type_name: Cow::Borrowed(Do::NAME),
            kind: MessageKind::Command,
        }]
    }

    fn keys(&self, _received: &Received) -> HandlerResult<Vec<RecordKey>> {
        Ok(Vec::new())
    }

    fn handle(&self, received: &Received, work: Work<'_>) -> HandlerResult<Effects> {
        let message: Do = received.decode()?;
        self.0.note(message.what);
        Ok(Effects {
            outbound: work.outbound,
            records: Vec::new(),
            pending: Vec::new(),
            taken: Taken::Handled,
            became: Vec::new(),
        })
    }
}

fn faulty(world: &World) -> (EndpointBuilder, Faults) {
    let faults = Faults::default();
    let store = Faulty {
        memory: world.memory.clone(),
        faults: faults.clone(),
    };
    (world.stateless("doer").persistence(store), faults)
}

/// Puts a message into the queue of an endpoint that was never up, so often delivered that it is suspicious.
fn suspicious(world: &World, id: &str) {
    world
        .run(
            world
                .endpoint("doer")
                .handler::<Do>(Noter(Ledger::default()))
                .build(),
        )
        .expect("builds");
    world.inject("doer", command(id, "sweep").into());
    for _ in 0..4 {
        world.take_and_drop("doer");
    }
}

#[test]
fn when_a_race_is_lost_what_is_pure_runs_again_and_the_handler_does_not() {
    let world = World::new();
    let (did, pure) = (Ledger::default(), Ledger::default());
    let (doer, faults) = faulty(&world);
    faults.fail_commits(3, |work| is_handling(work).then_some(StoreErrorKind::Conflict));
    let doer = world.start(
        doer.handler::<Do>(Noter(did.clone()))
            .stateful(Pure(pure.clone()))
            .retries(RetryPolicy::none()),
    );
    world.inject("doer", command("m-1", "sweep").into());
    world.until("it", || doer.monitor.stats().handled == 1);
    assert_eq!(doer.monitor.stats().conflicts, 3);
    assert_eq!(doer.monitor.stats().failures, 0, "a lost race is no failure");
    assert_eq!((did.len(), pure.len()), (1, 4));
}

#[test]
fn when_a_race_is_lost_too_often_the_message_is_given_back_and_handled_later() {
    let world = World::new();
    let did = Ledger::default();
    let (doer, faults) = faulty(&world);
    suspicious(&world, "m-1");
    faults.fail_commits(30, |work| is_handling(work).then_some(StoreErrorKind::Conflict));
    let doer = world.start(doer.handler::<Do>(Noter(did.clone())));
    world.until("it", || doer.monitor.stats().handled == 1);
    assert_eq!(doer.monitor.stats().released, 1);
    assert_eq!(world.browse("error").len(), 0);
}

#[test]
fn when_the_store_is_away_while_a_suspicious_message_is_handled_it_comes_again_and_is_handled() {
    let world = World::new();
    let did = Ledger::default();
    let (doer, faults) = faulty(&world);
    suspicious(&world, "m-1");
    let doer = world.start(doer.handler::<Do>(Noter(did.clone())));
    // The marking works, and nothing after it: also not the note that it is given back.
    faults.fail_commits(3, |work| {
        let is_marking = work
            .inbox
            .iter()
            .any(|change| matches!(change.next, Some(longhaul::store::InboxState::Started { .. })));
        (!is_marking && !work.inbox.is_empty()).then_some(StoreErrorKind::Unavailable)
    });
    world.until("it", || doer.monitor.stats().handled == 1);
    assert!(doer.monitor.stats().released >= 1);
    assert_eq!(world.browse("error").len(), 0);
}

#[test]
fn when_a_suspicious_message_was_given_back_another_process_handles_it() {
    let world = World::new();
    let did = Ledger::default();
    let (doer, faults) = faulty(&world);
    suspicious(&world, "m-1");
    faults.fail_commits(1, |work| is_handling(work).then_some(StoreErrorKind::Unavailable));
    let doer = world.start(doer.handler::<Do>(Noter(Ledger::default())));
    world.until("it given back", || doer.monitor.stats().released == 1);
    doer.stop(&world).expect("stops");
    let next = world.start(world.endpoint("doer").handler::<Do>(Noter(did.clone())));
    world.until("it", || next.monitor.stats().handled == 1);
    assert_eq!(world.browse("error").len(), 0);
}

/// Never ends.
struct Hanging(Ledger);

impl Handler<Do> for Hanging {
    async fn handle(&self, command: Do, _ctx: &mut Context) -> HandlerResult {
        self.0.note(command.what);
        std::future::pending().await
    }
}

#[test]
fn when_the_time_to_stop_runs_out_a_suspicious_message_is_handled_by_the_next_process() {
    let world = World::new();
    let did = Ledger::default();
    suspicious(&world, "m-1");
    let doer = world.endpoint("doer").handler::<Do>(Hanging(did.clone()));
    let doer = world.start(doer.settings(|settings| settings.stop_limit = Duration::from_secs(1)));
    world.until("its begin", || did.len() == 1);
    doer.stop(&world).expect("stops");
    let next = world.start(world.endpoint("doer").handler::<Do>(Noter(did.clone())));
    world.until("it", || next.monitor.stats().handled == 1);
    assert_eq!(world.browse("error").len(), 0);
}

#[test]
fn when_the_right_to_settle_a_suspicious_message_is_lost_it_comes_again_and_is_handled() {
    struct Once(Ledger);
    impl Handler<Do> for Once {
        async fn handle(&self, command: Do, _ctx: &mut Context) -> HandlerResult {
            self.0.note(command.what);
            if self.0.len() == 1 {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    }
    let world = World::new();
    let did = Ledger::default();
    suspicious(&world, "m-1");
    let broker = Revoking::new(&world.broker);
    let doer = world.endpoint("doer").transport(broker.clone());
    let doer = world.start(doer.handler::<Do>(Once(did.clone())));
    world.until("its begin", || did.len() == 1);
    broker.revoke();
    world.until("it", || doer.monitor.stats().handled == 1);
    assert_eq!(world.browse("error").len(), 0);
}

/// Passes a command on.
struct Forwarder(Ledger);

impl Handler<Done> for Forwarder {
    async fn handle(&self, event: Done, ctx: &mut Context) -> HandlerResult {
        self.0.note(&event.what);
        ctx.send(Do { what: event.what });
        Ok(())
    }
}

#[test]
fn when_the_store_does_not_last_nothing_is_acknowledged_before_its_outputs_are_sent() {
    let world = World::new();
    let (did, passed_on) = (Ledger::default(), Ledger::default());
    let broker = Revoking::new(&world.broker);
    let forwarder = world
        .stateless("forwarder")
        .transport(broker.clone())
        .persistence(Memory::new())
        .handler::<Done>(Forwarder(passed_on.clone()))
        .route::<Do>("doer");
    let forwarder = world.start(forwarder);
    let client = world.start(world.stateless("client"));
    world
        .run(client.session.publish(Done { what: "sweep".into() }))
        .expect("published");
    world.until("an attempt to send", || {
        forwarder.monitor.stats().send_failures >= 1
    });
    assert_eq!(broker.acknowledged(), 0);
    // The connection drops, and the message comes again: its outputs are still only in memory.
    broker.revoke();
    world.until("it again", || forwarder.monitor.stats().received >= 2);
    world.pass(Duration::from_secs(60));
    assert_eq!(broker.acknowledged(), 0, "the doer has nothing yet");
    let _doer = world.start(world.endpoint("doer").handler::<Do>(Noter(did.clone())));
    world.until("the command", || did.len() == 1);
    world.until("the acknowledgement", || broker.acknowledged() == 1);
    world.pass(Duration::from_secs(60));
    assert_eq!((did.len(), passed_on.len()), (1, 1));
    assert_eq!(world.browse("forwarder").len(), 0);
}
