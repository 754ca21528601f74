//! G1, G3, G5, G13: what handling causes leaves, whatever happens on the way.

use std::time::Duration;

use longhaul::prelude::*;
use longhaul::transport::{Declare, Topology, Transport};

use crate::world::{Do, Doer, Done, Ledger, Noter, Watcher, World, address, command};

/// Passes a command on.
struct Forwarder;

impl Handler<Done> for Forwarder {
    async fn handle(&self, event: Done, ctx: &mut Context) -> HandlerResult {
        ctx.send(Do { what: event.what });
        Ok(())
    }
}

#[test]
fn when_the_destination_is_missing_the_message_waits_and_leaves_once_it_exists() {
    let world = World::new();
    let forwarder = world.start(
        world
            .endpoint("forwarder")
            .handler::<Done>(Forwarder)
            .route::<Do>("doer"),
    );
    let client = world.start(world.stateless("client"));
    world
        .run(client.session.publish(Done { what: "sweep".into() }))
        .expect("published");
    world.until("an attempt", || forwarder.monitor.stats().send_failures >= 1);
    assert_eq!(world.sizes("forwarder").unsent, 1, "the row stays");
    let did = Ledger::default();
    let _doer = world.start(world.endpoint("doer").handler::<Do>(Noter(did.clone())));
    world.until("the command", || did.len() == 1);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.sizes("forwarder").unsent, 0);
    assert_eq!(did.len(), 1);
}

#[test]
fn when_the_process_stopped_before_sending_the_next_one_sends_with_no_message_coming_in() {
    let world = World::new();
    let forwarder = world.start(
        world
            .endpoint("forwarder")
            .handler::<Done>(Forwarder)
            .route::<Do>("doer"),
    );
    let client = world.start(world.stateless("client"));
    world
        .run(client.session.publish(Done { what: "sweep".into() }))
        .expect("published");
    world.until("an attempt", || forwarder.monitor.stats().send_failures >= 1);
    forwarder.stop(&world).expect("stops");
    let did = Ledger::default();
    let _doer = world.start(world.endpoint("doer").handler::<Do>(Noter(did.clone())));
    let _forwarder = world.start(
        world
            .endpoint("forwarder")
            .handler::<Done>(Forwarder)
            .route::<Do>("doer"),
    );
    world.until("the command", || did.len() == 1);
}

#[test]
fn when_a_message_is_handled_again_elsewhere_it_sends_the_same_ids_and_bytes() {
    // Storeless: the handler runs again for every copy, so all that keeps receivers from doubling is the ids.
    let world = World::new();
    world
        .run(world.broker.prepare(
            &Topology {
                queues: vec![address("probe")],
                subscriptions: vec![longhaul::transport::Subscription {
                    event: Done::NAME.into(),
                    queue: address("probe"),
                }],
                ..Topology::default()
            },
            Declare::Declare,
        ))
        .expect("prepares");
    let did = Ledger::default();
    let _doer = world.start(
        world
            .stateless("doer")
            .idempotent_handler::<Do>(Doer(did.clone())),
    );
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the first", || did.len() == 1);
    world.pass(Duration::from_secs(3));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("both", || world.browse("probe").len() == 2);
    let copies = world.browse("probe");
    assert_eq!(copies[0].incoming.id, copies[1].incoming.id);
    assert_eq!(copies[0].incoming.headers, copies[1].incoming.headers);
    assert_eq!(copies[0].incoming.body, copies[1].incoming.body);
}

#[test]
fn when_an_event_has_no_subscribers_that_is_a_success_and_counted() {
    let world = World::new();
    let did = Ledger::default();
    let doer = world.start(world.endpoint("doer").handler::<Do>(Doer(did)));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("it", || doer.monitor.stats().without_subscribers == 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.sizes("doer").unsent, 0);
}

#[test]
fn when_a_type_is_no_longer_handled_its_subscription_goes() {
    let world = World::new();
    let saw = Ledger::default();
    let watcher = world.start(
        world
            .endpoint("watcher")
            .handler::<Done>(Watcher(saw.clone()))
            .handler::<Do>(Doer(Ledger::default())),
    );
    watcher.stop(&world).expect("stops");
    let watcher = world.start(world.endpoint("watcher").handler::<Do>(Doer(Ledger::default())));
    let client = world.start(world.stateless("client"));
    world
        .run(client.session.publish(Done { what: "sweep".into() }))
        .expect("published");
    world.pass(Duration::from_secs(10));
    assert_eq!(world.browse("watcher").len(), 0);
    assert_eq!(watcher.monitor.stats().received, 0);
}

#[test]
fn when_a_reply_is_asked_for_it_goes_to_the_sender_and_names_the_request() {
    struct Answer;
    impl Handler<Do> for Answer {
        async fn handle(&self, command: Do, ctx: &mut Context) -> HandlerResult {
            ctx.reply(Done { what: command.what });
            Ok(())
        }
    }
    let world = World::new();
    world
        .run(world.broker.prepare(
            &Topology {
                queues: vec![address("client")],
                ..Topology::default()
            },
            Declare::Declare,
        ))
        .expect("prepares");
    let _doer = world.start(world.endpoint("doer").handler::<Do>(Answer));
    let mut request = command("m-1", "sweep");
    request.headers.set("longhaul.originator.part", "7");
    request.headers.set("longhaul.conversation", "c-1");
    world.inject("doer", request.into());
    world.until("the reply", || world.browse("client").len() == 1);
    let reply = world.browse("client").remove(0).incoming;
    let header = |name: &str| {
        let found = reply
            .headers
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.clone());
        found.map(|value| String::from_utf8(value).expect("text"))
    };
    assert_eq!(header("longhaul.intent").as_deref(), Some("reply"));
    assert_eq!(header("longhaul.correlation").as_deref(), Some("m-1"));
    assert_eq!(header("longhaul.causation").as_deref(), Some("m-1"));
    assert_eq!(header("longhaul.conversation").as_deref(), Some("c-1"));
    assert_eq!(header("longhaul.target.part").as_deref(), Some("7"));
    assert_eq!(header("longhaul.originating-endpoint").as_deref(), Some("doer"));
}

#[test]
fn when_a_command_is_delayed_it_arrives_at_its_time_and_not_before() {
    struct Later;
    impl Handler<Done> for Later {
        async fn handle(&self, event: Done, ctx: &mut Context) -> HandlerResult {
            // Far over what any broker keeps by itself.
            ctx.send(Do { what: event.what })
                .after(Duration::from_secs(30 * 366 * 86_400));
            Ok(())
        }
    }
    let world = World::new();
    let did = Ledger::default();
    let doer = world.endpoint("doer").handler::<Do>(Doer(did.clone()));
    let _doer = world.start(doer.settings(|settings| settings.purge_interval = Duration::from_secs(86_400)));
    let later = world.endpoint("later").handler::<Done>(Later).route::<Do>("doer");
    let later = world.start(later.settings(|settings| settings.purge_interval = Duration::from_secs(86_400)));
    let client = world.start(world.stateless("client"));
    world
        .run(client.session.publish(Done { what: "sweep".into() }))
        .expect("published");
    world.until("it to be handled", || later.monitor.stats().handled == 1);
    world.pass(Duration::from_secs(30 * 366 * 86_400 - 60));
    assert_eq!(did.len(), 0);
    world.pass(Duration::from_secs(61));
    assert_eq!(did.len(), 1);
}

#[test]
fn when_a_session_repeats_a_batch_under_its_id_it_arrives_once() {
    let world = World::new();
    let did = Ledger::default();
    let doer = world.start(world.endpoint("doer").handler::<Do>(Doer(did.clone())));
    let client = world.start(world.endpoint("client").route::<Do>("doer"));
    for _ in 0..3 {
        let mut batch = client
            .session
            .begin_as(MessageId::new("request-7").expect("an id"));
        batch.send(Do { what: "sweep".into() });
        batch.send(Do { what: "dust".into() });
        world.run(batch.commit()).expect("committed");
        world.pass(Duration::from_secs(1));
    }
    world.until("the duplicates", || doer.monitor.stats().duplicates == 4);
    assert_eq!(did.entries(), ["sweep", "dust"]);
}

#[test]
fn when_a_command_has_no_route_the_session_says_which_line_is_missing() {
    let world = World::new();
    let client = world.start(world.stateless("client"));
    let error = world
        .run(client.session.send(Do { what: "sweep".into() }))
        .expect_err("refused");
    assert!(
        error.to_string().contains("add `.route::<…>(\"its endpoint\")`"),
        "{error}"
    );
}

#[test]
fn when_too_much_is_unsent_the_endpoint_takes_no_more_until_it_is() {
    let world = World::new();
    let forwarder = world
        .endpoint("forwarder")
        .handler::<Done>(Forwarder)
        .route::<Do>("doer")
        .concurrency(1);
    let forwarder = world.start(forwarder.settings(|settings| settings.backlog = 10));
    let client = world.start(world.stateless("client"));
    for n in 0..100 {
        world
            .run(client.session.publish(Done { what: n.to_string() }))
            .expect("published");
    }
    world.pass(Duration::from_secs(120));
    let handled = forwarder.monitor.stats().handled;
    assert!((10..20).contains(&handled), "{handled} handled");
    let did = Ledger::default();
    let _doer = world.start(world.endpoint("doer").handler::<Do>(Noter(did.clone())));
    world.until("all", || did.len() == 100);
    assert_eq!(forwarder.monitor.backlog(), 0);
}
