//! Hostile input: each message goes unchanged to the error queue with its reason, no handler runs, others go on.

use std::time::Duration;

use longhaul::envelope::{Envelope, Incoming};
use longhaul::prelude::*;

use crate::world::{Do, Doer, Done, Ledger, Watcher, World, command};

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "reads better in the tests")]
fn set_aside(incoming: Incoming, reason: &str) {
    let world = World::new();
    let did = Ledger::default();
    let doer = world.start(
        world
            .endpoint("doer")
            .handler::<Do>(Doer(did.clone()))
            .handler::<Done>(Watcher(Ledger::default())),
    );
    world.inject("doer", incoming.clone());
    world.inject("doer", command("m-good", "sweep").into());
    world.until(reason, || world.browse("error").len() == 1);
    world.until("the good one", || did.len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), reason);
    assert_eq!(
        world.browse("error")[0].incoming.body,
        incoming.body,
        "the body is unchanged"
    );
    assert_eq!(did.entries(), ["sweep"], "no handler ran");
    assert_eq!(doer.monitor.stats().delayed_retries, 0, "nothing was retried");
    world.pass(Duration::from_secs(60));
    assert_eq!(world.browse("doer").len(), 0, "it was acknowledged");
    assert_eq!(world.browse("error").len(), 1);
}

fn with_body(body: &[u8]) -> Incoming {
    Envelope {
        body: body.to_vec().into(),
        ..command("m-1", "x")
    }
    .into()
}

fn with_header(name: &str, value: &str) -> Incoming {
    let mut envelope = command("m-1", "x");
    envelope.headers.set(name.to_owned(), value);
    envelope.into()
}

fn with_id(id: Option<&[u8]>) -> Incoming {
    Incoming {
        id: id.map(<[u8]>::to_vec),
        ..command("m-1", "x").into()
    }
}

#[test]
fn when_the_body_was_kept_elsewhere_and_is_not_there() {
    let mut bodiless = with_header("longhaul.body", "c0ffee00-0000-5000-8000-000000000000 4096");
    bodiless.body = Vec::new().into();
    set_aside(bodiless, "missing-body");
}

#[test]
fn when_there_is_no_id() {
    set_aside(with_id(None), "missing-id");
    set_aside(with_id(Some(b"")), "missing-id");
}

#[test]
fn when_the_id_is_not_one() {
    for id in [&b"a\r\nb"[..], b"a\0b", b"\x1b[31m", b"\xff\xfe"] {
        set_aside(with_id(Some(id)), "bad-id");
    }
}

#[test]
fn when_the_content_type_is_missing_or_unknown() {
    let mut without = command("m-1", "x");
    without.headers.remove("longhaul.content-type");
    set_aside(without.into(), "unknown-content-type");
    set_aside(
        with_header("longhaul.content-type", "text/xml"),
        "unknown-content-type",
    );
    set_aside(
        with_header("longhaul.content-type", &"a/b; c=d".repeat(600)),
        "unknown-content-type",
    );
}

#[test]
fn when_the_body_is_not_what_its_type_says() {
    for body in [
        &b""[..],
        b"<xml/>",
        b"\xef\xbb\xbf{\"what\":\"x\"}",
        br#"{"what":"x","what":"y"}"#,
        br#"{"what":NaN}"#,
        br#"{"what":"\ud800"}"#,
        br#"{"what":7}"#,
        b"{}",
    ] {
        set_aside(with_body(body), "bad-body");
    }
}

#[test]
fn when_the_body_is_nested_too_deep() {
    for depth in [200, 100_000] {
        let body = format!("{{\"what\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        set_aside(with_body(body.as_bytes()), "too-deep");
    }
}

#[test]
fn when_the_type_is_unknown() {
    for name in ["test.nothing.v1", "", "waker", "alloc::string::String"] {
        set_aside(with_header("longhaul.type", name), "unknown-type");
    }
}

#[test]
fn when_five_hundred_types_are_listed() {
    set_aside(
        with_header("longhaul.type", &vec!["t"; 500].join(",")),
        "bad-header",
    );
}

#[test]
fn when_a_command_is_published_or_an_event_is_sent() {
    set_aside(with_header("longhaul.intent", "publish"), "wrong-kind");
    set_aside(with_header("longhaul.type", Done::NAME), "wrong-kind");
    set_aside(with_header("longhaul.intent", "timeout"), "wrong-kind");
    set_aside(with_header("longhaul.intent", "shout"), "bad-header");
}

#[test]
fn when_one_header_has_two_values() {
    let mut incoming = Incoming::from(command("m-1", "x"));
    incoming.headers.push(("longhaul.type".into(), b"other".to_vec()));
    set_aside(incoming, "ambiguous-header");
}

#[test]
fn when_there_are_too_many_or_too_long_headers() {
    let mut incoming = Incoming::from(command("m-1", "x"));
    incoming
        .headers
        .extend((0..10_000).map(|n| (n.to_string(), Vec::new())));
    set_aside(incoming, "too-large");
    set_aside(with_header("a", &"x".repeat(1 << 20)), "too-large");
}

#[test]
fn when_the_due_time_is_not_a_time() {
    for due in [
        "NaN",
        "inf",
        "9223372036854775807",
        "2026-01-01T00:00:00+01:00",
        "2026-06-30T23:59:60Z",
    ] {
        set_aside(with_header("longhaul.due", due), "bad-delay");
    }
}

#[test]
fn when_the_attempt_count_or_the_trace_context_is_nonsense_the_message_is_handled() {
    for (name, value) in [
        ("longhaul.attempts", "-1"),
        ("longhaul.attempts", "99999999999999999999"),
        ("longhaul.attempts", "many"),
        ("traceparent", "nonsense"),
        ("longhaul.time-sent", "yesterday"),
        ("theirs", "a\r\nset-cookie: b"),
    ] {
        let world = World::new();
        let did = Ledger::default();
        let _doer = world.start(world.endpoint("doer").handler::<Do>(Doer(did.clone())));
        world.inject("doer", with_header(name, value));
        world.until(name, || did.len() == 1);
    }
}

#[test]
fn when_a_copy_of_a_handled_message_is_damaged_on_the_way_it_is_a_duplicate() {
    let world = World::new();
    let did = Ledger::default();
    let doer = world.start(world.endpoint("doer").handler::<Do>(Doer(did.clone())));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("it", || did.len() == 1);
    world.inject("doer", with_header("longhaul.type", "other"));
    world.until("the duplicate", || doer.monitor.stats().duplicates == 1);
    assert_eq!(world.browse("error").len(), 0);
}
