//! G7: a failing message is retried at once, then later, then set aside byte for byte with the reason.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use longhaul::envelope::Incoming;
use longhaul::handler::Received;
use longhaul::local::LocalOptions;
use longhaul::message::MessageKind;
use longhaul::prelude::*;
use longhaul::stateful::{Accepts, Effects, StatefulHandler, Taken, Work};
use longhaul::store::RecordKey;

use crate::world::{Do, Doer, Done, Failing, Ledger, Noter, Watcher, World, address, command};

const POLICY: RetryPolicy = RetryPolicy {
    immediate: 2,
    delayed: 3,
    jitter: false,
    ..RetryPolicy::machine()
};

#[test]
fn when_a_handler_fails_twice_it_succeeds_at_the_third_attempt_and_sends_once() {
    let world = World::new();
    let (did, saw) = (Ledger::default(), Ledger::default());
    let failing = Failing::new(&did, |_, attempt| match attempt {
        1 | 2 => Err(HandlerError::transient("not yet")),
        _ => Ok(()),
    });
    let doer = world.start(world.endpoint("doer").handler::<Do>(failing).retries(POLICY));
    let _watcher = world.start(world.endpoint("watcher").handler::<Done>(Watcher(saw.clone())));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the event", || saw.len() == 1);
    assert_eq!(did.len(), 3);
    assert_eq!(doer.monitor.stats().delayed_retries, 0);
}

#[test]
fn when_a_message_always_fails_it_is_tried_exactly_as_often_as_the_policy_says_and_set_aside_unchanged() {
    let world = World::new();
    let (did, saw) = (Ledger::default(), Ledger::default());
    let failing = Failing::new(&did, |_, _| Err(HandlerError::transient("the printer burns")));
    let _doer = world.start(world.endpoint("doer").handler::<Do>(failing).retries(POLICY));
    let _watcher = world.start(world.endpoint("watcher").handler::<Done>(Watcher(saw.clone())));
    let mut original = command("m-1", "sweep");
    original.headers.set("tenant", "acme");
    original.body = b" { \"what\" : \"sweep\" } ".to_vec().into();
    world.inject("doer", original.clone().into());
    world.until("the error", || world.browse("error").len() == 1);

    // One attempt and two immediate retries, in four rounds: at once, after 10 s, 20 s and 40 s.
    assert_eq!(did.len(), 12);
    let set_aside = world.browse("error").remove(0).incoming;
    assert_eq!(set_aside.body, original.body);
    assert_eq!(set_aside.id.as_deref(), Some(b"m-1".as_slice()));
    for (name, value) in original.headers.iter() {
        let found = set_aside
            .headers
            .iter()
            .find(|(have, _)| have == name)
            .expect(name);
        assert_eq!(found.1, value.as_bytes(), "{name}");
    }
    for (name, value) in [
        ("longhaul.error.reason", "handler-failed"),
        ("longhaul.error.class", "transient"),
        ("longhaul.error.text", "the printer burns"),
        ("longhaul.error.endpoint", "doer"),
        ("longhaul.error.source-queue", "doer"),
        ("longhaul.error.attempts", "12"),
        ("longhaul.error.host", "here"),
    ] {
        assert_eq!(world.error_header(0, name), value, "{name}");
    }
    let first = Timestamp::parse(&world.error_header(0, "longhaul.error.first-failure")).expect("a time");
    let last = Timestamp::parse(&world.error_header(0, "longhaul.error.last-failure")).expect("a time");
    assert!((70..72).contains(&last.since(first).as_secs()), "{first} {last}");
    assert_eq!(saw.len(), 0, "nothing of a failed attempt leaves");
}

#[test]
fn when_the_endpoint_restarts_between_attempts_the_count_goes_on() {
    let world = World::new();
    let did = Ledger::default();
    let start = || {
        let failing = Failing::new(&did, |_, _| Err(HandlerError::transient("the printer burns")));
        world.start(world.endpoint("doer").handler::<Do>(failing).retries(POLICY))
    };
    let mut doer = start();
    world.inject("doer", command("m-1", "sweep").into());
    for round in 1..4 {
        world.until("a round", || did.len() == round * 3);
        world.pass(Duration::from_secs(1));
        doer.stop(&world).expect("stops");
        doer = start();
    }
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(did.len(), 12);
    assert_eq!(world.error_header(0, "longhaul.error.attempts"), "12");
}

#[test]
fn when_an_error_is_permanent_the_message_is_set_aside_at_once() {
    let world = World::new();
    let did = Ledger::default();
    let failing = Failing::new(&did, |_, _| Err(HandlerError::permanent("no such card")));
    let _doer = world.start(world.endpoint("doer").handler::<Do>(failing));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(did.len(), 1);
}

#[test]
fn when_a_handler_panics_nothing_leaves_and_the_endpoint_goes_on() {
    let world = World::new();
    let did = Ledger::default();
    let failing = Failing::new(
        &did,
        |what, _| if what == "sweep" { panic!("boom") } else { Ok(()) },
    );
    let doer = world.start(
        world
            .endpoint("doer")
            .handler::<Do>(failing)
            .retries(RetryPolicy::none()),
    );
    world.inject("doer", command("m-1", "sweep").into());
    world.inject("doer", command("m-2", "dust").into());
    world.until("the other", || doer.monitor.stats().handled == 1);
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "handler-panicked");
    assert!(world.error_header(0, "longhaul.error.text").contains("boom"));
}

#[test]
fn when_the_redelivered_original_of_a_failed_message_comes_it_is_a_duplicate_and_a_replay_is_not() {
    let world = World::new();
    let did = Ledger::default();
    let failing = Failing::new(&did, |_, attempt| match attempt {
        1 => Err(HandlerError::permanent("no such card")),
        _ => Ok(()),
    });
    let doer = world.start(world.endpoint("doer").handler::<Do>(failing));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the error", || world.browse("error").len() == 1);
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the duplicate", || doer.monitor.stats().duplicates == 1);
    let mut replay = command("m-1", "sweep");
    replay.headers.set("longhaul.replay", "1");
    world.inject("doer", Incoming::from(replay.clone()));
    world.until("the replay", || doer.monitor.stats().handled == 1);
    // A replay that was handled is a duplicate like any other.
    world.inject("doer", replay.into());
    world.until("the duplicate", || doer.monitor.stats().duplicates == 2);
    assert_eq!(did.len(), 2);
}

#[test]
fn when_an_older_copy_of_a_message_being_retried_comes_it_does_not_count() {
    let world = World::new();
    let did = Ledger::default();
    let failing = Failing::new(&did, |_, attempt| match attempt {
        1..=3 => Err(HandlerError::transient("not yet")),
        _ => Ok(()),
    });
    let doer = world.start(world.endpoint("doer").handler::<Do>(failing).retries(POLICY));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the retry", || doer.monitor.stats().delayed_retries == 1);
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the duplicate", || doer.monitor.stats().duplicates == 1);
    assert_eq!(did.len(), 3, "the original does not run before the copy");
    world.until("the copy", || doer.monitor.stats().handled == 1);
    assert_eq!(did.len(), 4);
}

#[test]
fn when_a_storeless_handler_fails_it_is_retried_and_set_aside_too() {
    let world = World::new();
    let did = Ledger::default();
    let failing = Failing::new(&did, |_, _| Err(HandlerError::transient("the printer burns")));
    let _doer = world.start(
        world
            .stateless("doer")
            .idempotent_handler::<Do>(failing)
            .retries(POLICY),
    );
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(did.len(), 12);
    assert_eq!(world.error_header(0, "longhaul.error.attempts"), "12");
}

#[test]
fn when_a_message_ended_the_process_again_and_again_it_is_set_aside_and_its_neighbours_are_handled() {
    let world = World::new();
    let did = Ledger::default();
    // A process that ends is a future that is dropped in the middle: the message comes again, with a higher count.
    for _ in 0..7 {
        let endpoint = world
            .endpoint("doer")
            .handler::<Do>(Hanging(did.clone()))
            .prefetch(50);
        let endpoint = world.run(endpoint.build()).expect("builds");
        if world.browse("doer").is_empty() {
            world.inject("doer", command("m-1", "kill").into());
            world.inject("doer", command("m-2", "sweep").into());
        }
        let limit = world
            .clock
            .sleep_until(world.clock.now() + Duration::from_secs(1));
        world.run(async {
            tokio::select! {
                biased;
                _ = endpoint.run_until(std::future::pending()) => {}
                () = limit => {}
            }
        });
    }
    let doer = world.start(world.endpoint("doer").handler::<Do>(Hanging(did.clone())));
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "killed-process");
    world.until("an empty queue", || world.browse("doer").is_empty());
    assert_eq!(did.entries().iter().filter(|what| *what == "sweep").count(), 1);
    let kills = did.entries().iter().filter(|what| *what == "kill").count();
    assert_eq!(kills, 6, "three free tries, and three that were marked");
    drop(doer);
}

/// Without a store the broker's count is all that tells of messages that end the process; what the endpoint gave back itself
/// counts, too, and must not be taken for that.
#[test]
fn when_retries_of_a_storeless_endpoint_are_refused_for_long_nothing_is_called_a_killer() {
    let world = World::new();
    let options = LocalOptions::default().max_queue_length(1);
    let broker = LocalBroker::in_memory_with(Arc::new(world.clock.clone()), options);
    let did = Ledger::default();
    let fails: fn(&str, usize) -> HandlerResult = |_, times| match times {
        0..400 => Err(HandlerError::transient("do it: not now")),
        _ => Ok(()),
    };
    let doer = world
        .stateless("doer")
        .transport(broker.clone())
        .idempotent_handler::<Do>(Failing::new(&did, fails));
    let doer = world.start(doer);
    let shop = world
        .stateless("shop")
        .transport(broker.clone())
        .route::<Do>("doer");
    let shop = world.run(shop.build()).expect("builds").session();
    world
        .run(shop.send(Do {
            what: String::from("it"),
        }))
        .expect("sends");
    // Its own queue is full with this message, so no retry can be sent.
    world.pass(Duration::from_secs(2 * 3600));
    assert!(did.len() > 30, "more tries than a killer has: {}", did.len());
    assert_eq!(broker.len(&address("error")), Some(0));
    drop(doer);
}

/// Never ends handling a `kill`.
struct Hanging(Ledger);

impl Handler<Do> for Hanging {
    async fn handle(&self, command: Do, _ctx: &mut Context) -> HandlerResult {
        self.0.note(&command.what);
        if command.what == "kill" {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[test]
fn when_the_error_queue_is_missing_the_message_stays_and_moves_once_it_exists() {
    let world = World::new();
    let did = Ledger::default();
    let failing = Failing::new(&did, |_, _| Err(HandlerError::permanent("no such card")));
    let doer = world.start(world.endpoint("doer").handler::<Do>(failing));
    world.delete_queue("error");
    world.inject("doer", command("m-1", "sweep").into());
    world.until("it given back", || doer.monitor.stats().released >= 1);
    let other = world.start(world.endpoint("other").handler::<Do>(Doer(Ledger::default())));
    world.until("the error", || world.browse("error").len() == 1);
    drop(other);
}

#[test]
fn when_a_suspicious_message_merely_fails_it_is_retried_like_any_other() {
    let world = World::new();
    let did = Ledger::default();
    // Four processes that ended while the message was only waiting make it suspicious.
    world
        .run(world.endpoint("doer").handler::<Do>(Noter(did.clone())).build())
        .expect("builds");
    world.inject("doer", command("m-1", "sweep").into());
    for _ in 0..4 {
        world.take_and_drop("doer");
    }
    let failing = Failing::new(&did, |_, attempt| match attempt {
        1..=4 => Err(HandlerError::transient("not yet")),
        _ => Ok(()),
    });
    let doer = world.start(world.endpoint("doer").handler::<Do>(failing).retries(POLICY));
    world.until("it", || doer.monitor.stats().handled == 1);
    assert_eq!(did.len(), 5);
    assert_eq!(world.browse("error").len(), 0);
}

/// Takes `Do`s as the function says, given how many times it was asked before; notes whether it was the last chance.
struct Choosy {
    ledger: Ledger,
    take: fn(usize) -> HandlerResult<Taken>,
}

impl StatefulHandler for Choosy {
    fn name(&self) -> &str {
        "choosy"
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
        let before = self.ledger.len();
        self.ledger
            .note(if received.last_chance { "last" } else { "open" });
        Ok(Effects {
            outbound: work.outbound,
            records: Vec::new(),
            pending: Vec::new(),
            taken: (self.take)(before)?,
            became: Vec::new(),
        })
    }
}

fn choosy(world: &World, take: fn(usize) -> HandlerResult<Taken>) -> (crate::world::Running, Ledger) {
    let asked = Ledger::default();
    let choosy = Choosy {
        ledger: asked.clone(),
        take,
    };
    let policy = RetryPolicy {
        immediate: 0,
        ..POLICY
    };
    let doer = world.start(world.endpoint("doer").stateful(choosy).retries(policy));
    world.inject("doer", command("m-1", "sweep").into());
    (doer, asked)
}

#[test]
fn when_a_message_was_put_off_it_still_has_all_its_delayed_retries() {
    let world = World::new();
    let (doer, asked) = choosy(&world, |before| match before {
        0..3 => Ok(Taken::Absent),
        _ => Err(HandlerError::transient("the printer burns")),
    });
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(doer.monitor.stats().put_off, 3);
    assert_eq!(doer.monitor.stats().delayed_retries, 3);
    assert_eq!(asked.len(), 7);
    let header = |name: &str| {
        let headers = world.browse("error").remove(0).incoming.headers;
        headers.into_iter().any(|(have, _)| have == name)
    };
    assert!(!header("longhaul.put-off") && !header("longhaul.generation"));
}

#[test]
fn when_a_message_failed_for_many_rounds_it_is_still_put_off_when_nothing_takes_it() {
    let world = World::new();
    let (doer, asked) = choosy(&world, |before| match before {
        0..3 => Err(HandlerError::transient("the printer burns")),
        _ => Ok(Taken::Absent),
    });
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "not-found");
    assert_eq!(doer.monitor.stats().put_off, 5);
    let mut expected = vec!["open"; 8];
    expected.push("last");
    assert_eq!(asked.entries(), expected);
}

#[test]
fn when_a_message_with_as_many_headers_as_are_allowed_fails_its_retry_is_handled() {
    for has_store in [true, false] {
        let world = World::new();
        let did = Ledger::default();
        let failing = Failing::new(&did, |_, attempt| match attempt {
            1..=3 => Err(HandlerError::transient("not yet")),
            _ => Ok(()),
        });
        let doer = if has_store {
            world.endpoint("doer")
        } else {
            world.stateless("doer")
        };
        let doer = world.start(doer.idempotent_handler::<Do>(failing).retries(POLICY));
        let mut full = command("m-1", "sweep");
        for n in full.headers.len()..64 {
            full.headers.set(format!("theirs-{n}"), "x");
        }
        world.inject("doer", full.into());
        world.until("it", || doer.monitor.stats().handled == 1);
        assert_eq!(world.browse("error").len(), 0);
    }
}

#[test]
fn when_a_storeless_endpoint_was_down_for_days_what_fails_then_has_all_its_retries() {
    let world = World::new();
    let did = Ledger::default();
    let failing = Failing::new(&did, |_, _| Err(HandlerError::transient("the printer burns")));
    let _doer = world.start(
        world
            .stateless("doer")
            .idempotent_handler::<Do>(failing)
            .retries(POLICY),
    );
    let mut late = command("m-1", "sweep");
    let sent = world.clock.now() - Duration::from_secs(3 * 86_400);
    late.headers.set("longhaul.time-sent", sent.to_string());
    let begin = world.clock.now();
    world.inject("doer", late.into());
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(did.len(), 12);
    let first = Timestamp::parse(&world.error_header(0, "longhaul.error.first-failure")).expect("a time");
    assert!(
        first >= begin && first.since(begin) < Duration::from_secs(5),
        "{first}"
    );
    let last = Timestamp::parse(&world.error_header(0, "longhaul.error.last-failure")).expect("a time");
    assert!((70..72).contains(&last.since(first).as_secs()), "{first} {last}");
    let names = world.browse("error").remove(0).incoming.headers;
    assert!(names.iter().all(|(name, _)| name != "longhaul.first-failure"));
}
