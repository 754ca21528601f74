//! What is wrong with an endpoint is said when it is built, all at once, each with the line that mends it.

use std::time::Duration;

use longhaul::endpoint::EndpointErrorKind;
use longhaul::prelude::*;

use crate::world::{Do, Doer, Ledger, World};

#[test]
fn when_several_things_are_wrong_all_of_them_are_reported_together() {
    let world = World::new();
    let builder = Endpoint::builder("sales.#")
        .handler::<Do>(Doer(Ledger::default()))
        .route::<Do>("billing")
        .route::<Do>("shipping")
        .error_queue("")
        .retention(Duration::from_secs(60))
        .concurrency(0);
    let error = world.run(builder.build()).expect_err("refused");
    assert_eq!(error.kind(), EndpointErrorKind::Configuration);
    let text = error.to_string();
    for part in [
        "\"sales.#\"",
        "add `.transport(…)`",
        "keep one `.route`",
        "it is empty",
        "set `.retention(…)`",
        "`.concurrency(1)`",
        "`.idempotent_handler`",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn when_ids_are_forgotten_before_the_last_retry_the_endpoint_is_refused() {
    let world = World::new();
    let builder = world
        .endpoint("doer")
        .handler::<Do>(Doer(Ledger::default()))
        .retention(Duration::from_secs(3600));
    let error = world.run(builder.build()).expect_err("refused");
    assert!(
        error.to_string().contains("would then be handled twice"),
        "{error}"
    );
    let builder = world
        .endpoint("doer")
        .handler::<Do>(Doer(Ledger::default()))
        .retention(Duration::from_secs(26 * 3600));
    assert!(world.run(builder.build()).is_ok());
}

#[test]
fn when_the_error_queue_is_the_input_queue_the_endpoint_is_refused() {
    let world = World::new();
    let builder = world
        .endpoint("doer")
        .handler::<Do>(Doer(Ledger::default()))
        .error_queue("doer");
    assert!(world.run(builder.build()).is_err());
}

#[test]
fn when_a_second_process_consumes_the_queue_of_an_embedded_store_it_is_refused() {
    let world = World::new();
    let first = world.start(world.endpoint("doer").handler::<Do>(Doer(Ledger::default())));
    world.pass(Duration::from_secs(1));
    let second = world.start(world.endpoint("doer").handler::<Do>(Doer(Ledger::default())));
    let error = second.end(&world).expect_err("refused");
    assert_eq!(error.kind(), EndpointErrorKind::Transport, "{error}");
    first.stop(&world).expect("the first goes on");
}

#[test]
fn when_storeless_endpoints_compete_they_share_the_work() {
    let world = World::new();
    let did = Ledger::default();
    let start = || {
        world.start(
            world
                .stateless("doer")
                .idempotent_handler::<Do>(Doer(did.clone()))
                .prefetch(1),
        )
    };
    let (one, two) = (start(), start());
    let client = world.start(world.stateless("client").route::<Do>("doer"));
    for n in 0..100 {
        world
            .run(client.session.send(Do { what: n.to_string() }))
            .expect("sent");
    }
    world.until("all", || did.len() == 100);
    assert!(one.monitor.stats().handled > 0 && two.monitor.stats().handled > 0);
}
