//! What an operator says to an endpoint about order: what waits behind a message that was discarded may pass.

use std::time::Duration;

use longhaul::control::LetPass;
use longhaul::envelope::Envelope;
use longhaul::headers;
use longhaul::prelude::*;
use longhaul::store::{InboxChange, InboxState, UnitOfWork};

use crate::quarantine::{ByOrder, Doer, of_order, start};
use crate::world::{Do, World};

fn let_pass(id: &str, first: &str) -> Envelope {
    let headers = headers::Headers::from_iter([
        (headers::INTENT, "send"),
        (headers::TYPE, LetPass::NAME),
        (headers::CONTENT_TYPE, "application/json"),
    ]);
    let first = MessageId::new(first).expect("an id");
    let body = serde_json::to_vec(&LetPass { first }).expect("encodes");
    Envelope::new(MessageId::new(id).expect("an id"), headers, body.into())
}

#[test]
fn when_an_operator_lets_pass_what_waits_it_follows_once_however_often_that_is_said() {
    let world = World::new();
    let doer = Doer::default();
    let start = || {
        let endpoint = world.endpoint("doer").step(ByOrder).handler::<Do>(doer.clone());
        world.start(endpoint.operable_order())
    };
    let running = start();
    for order in ["a", "b"] {
        world.inject("doer", of_order(order, &format!("{order}-1"), "bad").into());
    }
    world.until("the errors", || world.browse("error").len() == 2);
    let order = |number| world.error_header(number, headers::ERROR_ORDER);
    assert_eq!([order(0), order(1)], ["a", "b"]);
    for n in 2..5 {
        for order in ["a", "b"] {
            world.inject(
                "doer",
                of_order(order, &format!("{order}-{n}"), &format!("{order}{n}")).into(),
            );
        }
    }
    world.until("six that wait", || running.monitor.stats().set_aside == 6);
    // One of these waits itself, and of the other nothing is known.
    world.inject("doer", let_pass("o-0", "a-2").into());
    world.inject("doer", let_pass("o-1", "nobody").into());
    world.pass(Duration::from_secs(60));
    assert_eq!(doer.did.len(), 0);
    assert_eq!(world.browse("error").len(), 2, "that may still change");
    // The same again, also by another name, and as a copy after a restart.
    for id in ["o-2", "o-2", "o-3"] {
        world.inject("doer", let_pass(id, "a-1").into());
    }
    world.until("one order", || doer.did.len() == 3);
    running.stop(&world).expect("stops");
    let running = start();
    world.inject("doer", let_pass("o-2", "a-1").into());
    world.pass(Duration::from_secs(60));
    assert_eq!(doer.did.entries(), ["a2", "a3", "a4"]);
    let waiting = world.run(running.session.waiting(None, 10)).expect("lists");
    assert_eq!((waiting.len(), waiting[0].name.as_str()), (1, "b"));
    // What an operator was wrong about is told in the end.
    world.pass(Duration::from_secs(2 * 86_400));
    assert_eq!(world.browse("error").len(), 3);
    let told = world.error_header(2, headers::ERROR_TEXT);
    assert!(told.contains("nobody"), "{told}");
}

#[test]
fn when_an_operator_is_faster_than_the_note_that_a_message_failed_the_others_pass_all_the_same() {
    let world = World::new();
    let doer = Doer::default();
    let endpoint = world.endpoint("doer").step(ByOrder).handler::<Do>(doer.clone());
    let running = world.start(endpoint.operable_order());
    world.inject("doer", let_pass("o-1", "a-1").into());
    world.pass(Duration::from_secs(1));
    world.inject("doer", of_order("a", "a-1", "bad").into());
    world.until("the error", || world.browse("error").len() == 1);
    world.inject("doer", of_order("a", "a-2", "2").into());
    world.until("what waits", || doer.did.len() == 1);
    let waiting = world.run(running.session.waiting(None, 10)).expect("lists");
    assert!(waiting.is_empty());
    assert_eq!(world.browse("error").len(), 1);
}

#[test]
fn when_a_message_that_ended_the_process_is_not_the_first_of_its_order_it_can_be_let_go_too() {
    let world = World::new();
    let doer = Doer::default();
    let endpoint = world.endpoint("doer").step(ByOrder).handler::<Do>(doer.clone());
    let running = world.start(endpoint.operable_order());
    world.inject("doer", of_order("a", "a-1", "bad").into());
    world.until("the error", || world.browse("error").len() == 1);
    // Other processes were handling it meanwhile, and ended each time.
    let started = InboxChange {
        id: MessageId::new("a-2").expect("an id"),
        expected: None,
        next: Some(InboxState::Started {
            generation: 0,
            attempts: 0,
            times: 3,
            since: world.clock.now(),
        }),
        at: world.clock.now(),
    };
    let ended = UnitOfWork {
        inbox: vec![started],
        ..UnitOfWork::default()
    };
    world.run(world.store("doer").commit(ended)).expect("commits");
    world.inject("doer", of_order("a", "a-2", "2").into());
    world.until("the other error", || world.browse("error").len() == 2);
    assert_eq!(world.error_header(1, "longhaul.error.reason"), "killed-process");
    assert_eq!(world.error_header(1, headers::ERROR_ORDER), "a");
    world.inject("doer", of_order("a", "a-3", "3").into());
    world.until("one that waits", || running.monitor.stats().set_aside == 1);
    let waiting = || world.run(running.session.waiting(None, 10)).expect("lists");
    assert_eq!((waiting()[0].first.as_str(), waiting()[0].behind), ("a-1", 2));
    // Not the one that waits, and not before its turn.
    world.inject("doer", let_pass("o-1", "a-3").into());
    world.inject("doer", let_pass("o-2", "a-2").into());
    world.until("one less", || waiting()[0].behind == 1);
    world.pass(Duration::from_secs(60));
    assert_eq!(doer.did.len(), 0);
    world.inject("doer", let_pass("o-3", "a-1").into());
    world.until("the third", || doer.did.len() == 1);
    assert_eq!(doer.did.entries(), ["3"]);
    assert!(waiting().is_empty());
}

#[test]
fn when_an_endpoint_is_not_operable_to_let_pass_is_of_an_unknown_type_and_without_a_store_it_is_refused() {
    let world = World::new();
    let _running = start(&world, &Doer::default());
    world.inject("doer", let_pass("o-1", "a-1").into());
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "unknown-type");
    let storeless = world.stateless("storeless").operable_order();
    let error = world.run(storeless.build()).expect_err("refused").to_string();
    assert!(error.contains("nothing waits in order"), "{error}");
}
