//! Rules for certain messages and errors: another policy, the error queue at once, or nothing at all.

use std::time::Duration;

use longhaul::handler::ErrorClass;
use longhaul::prelude::*;
use longhaul::recoverability::Rule;

use crate::world::{Do, Failing, Ledger, World, command};

const POLICY: RetryPolicy = RetryPolicy {
    immediate: 2,
    delayed: 1,
    jitter: false,
    ..RetryPolicy::machine()
};

fn parse(_: &str, _: usize) -> HandlerResult {
    "x".parse::<u8>()?;
    Ok(())
}

fn refuse(_: &str, _: usize) -> HandlerResult {
    Err(HandlerError::expected("no seats today"))
}

#[test]
fn when_a_message_type_has_a_policy_of_its_own_its_failures_go_by_that() {
    for has_store in [true, false] {
        let world = World::new();
        let did = Ledger::default();
        let doer = if has_store {
            world.endpoint("doer")
        } else {
            world.stateless("doer")
        };
        let policy = RetryPolicy {
            immediate: 1,
            delayed: 2,
            ..POLICY
        };
        let doer = doer
            .idempotent_handler::<Do>(Failing::new(&did, refuse))
            .retries(POLICY)
            .recover(Rule::retry(policy).message::<Do>());
        let _doer = world.start(doer);
        world.inject("doer", command("m-1", "sweep").into());
        world.until("the error", || world.browse("error").len() == 1);
        assert_eq!(did.len(), 6, "two attempts in three rounds");
    }
}

#[test]
fn when_an_error_has_a_rule_of_its_own_it_goes_by_that_and_tells_its_class() {
    let world = World::new();
    let did = Ledger::default();
    let doer = world
        .endpoint("doer")
        .handler::<Do>(Failing::new(&did, parse))
        .retries(POLICY)
        .classify(|_: &std::num::ParseIntError| ErrorClass::Expected)
        .recover(Rule::error_queue().error::<std::num::ParseIntError>());
    let _doer = world.start(doer);
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(did.len(), 1);
    assert_eq!(world.error_header(0, "longhaul.error.class"), "expected");
}

#[test]
fn when_a_rule_says_so_a_failed_message_is_forgotten_after_its_retries_and_a_copy_is_a_duplicate() {
    let world = World::new();
    let did = Ledger::default();
    let doer = world
        .endpoint("doer")
        .handler::<Do>(Failing::new(&did, refuse))
        .recover(Rule::retry(POLICY).class(ErrorClass::Expected).or_else_discard());
    let doer = world.start(doer);
    world.inject("doer", command("m-1", "sweep").into());
    world.until("it forgotten", || doer.monitor.stats().discarded == 1);
    assert_eq!(did.len(), 6);
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the duplicate", || doer.monitor.stats().duplicates == 1);
    assert_eq!(doer.monitor.stats().moved_to_errors, 0);
    assert_eq!(did.len(), 6);
}

#[test]
fn when_a_rule_is_for_old_messages_a_fresh_one_is_retried() {
    let world = World::new();
    let did = Ledger::default();
    let doer = world
        .endpoint("doer")
        .handler::<Do>(Failing::new(&did, refuse))
        .retries(POLICY)
        .recover(
            Rule::discard()
                .message::<Do>()
                .older_than(Duration::from_secs(60)),
        );
    let doer = world.start(doer);
    let mut old = command("m-1", "old");
    let sent = world.clock.now() - Duration::from_secs(61);
    old.headers.set("longhaul.time-sent", sent.to_string());
    let mut fresh = command("m-2", "fresh");
    fresh
        .headers
        .set("longhaul.time-sent", world.clock.now().to_string());
    world.inject("doer", old.into());
    world.inject("doer", fresh.into());
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(doer.monitor.stats().discarded, 1);
    let count = |what: &str| did.entries().iter().filter(|did| *did == what).count();
    assert_eq!((count("old"), count("fresh")), (1, 6));
}

#[test]
fn when_a_rule_would_discard_everything_the_endpoint_is_refused() {
    let world = World::new();
    let builder = world
        .endpoint("doer")
        .handler::<Do>(Failing::new(&Ledger::default(), refuse))
        .recover(Rule::discard());
    let error = world.run(builder.build()).expect_err("refused");
    assert!(error.to_string().contains("say of what"), "{error}");
}

#[test]
fn when_ids_are_forgotten_before_the_last_retry_of_a_rule_the_endpoint_is_refused() {
    let world = World::new();
    let builder = world
        .endpoint("doer")
        .handler::<Do>(Failing::new(&Ledger::default(), refuse))
        .retries(RetryPolicy::none())
        .recover(Rule::retry(RetryPolicy::machine()).class(ErrorClass::Transient))
        .retention(Duration::from_secs(3600));
    let error = world.run(builder.build()).expect_err("refused");
    assert!(error.to_string().contains("handled twice"), "{error}");
}
