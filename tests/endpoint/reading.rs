//! What goes wrong before a handler runs is a failure like any other: steps, correlation, keys, stored state.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longhaul::envelope::{Envelope, Incoming};
use longhaul::handler::Received;
use longhaul::message::MessageKind;
use longhaul::pipeline::PipelineStep;
use longhaul::prelude::*;
use longhaul::stateful::{Accepts, Effects, StatefulHandler, Taken, Work};
use longhaul::store::{RecordKey, StoreErrorKind};

use crate::faults::{Faults, Faulty};
use crate::world::{Do, Done, Failing, Ledger, Noter, Watcher, World, command};

const POLICY: RetryPolicy = RetryPolicy {
    immediate: 2,
    delayed: 3,
    jitter: false,
    ..RetryPolicy::machine()
};

/// Takes `Do`s, and finds their records as the function says.
struct Keyed {
    ledger: Ledger,
    keys: fn(&Received) -> HandlerResult<Vec<RecordKey>>,
}

impl StatefulHandler for Keyed {
    fn name(&self) -> &str {
        "keyed"
    }

    fn accepts(&self) -> Vec<Accepts> {
        vec![Accepts {
            type_name: Cow::Borrowed(Do::NAME),
            kind: MessageKind::Command,
        }]
    }

    fn keys(&self, received: &Received) -> HandlerResult<Vec<RecordKey>> {
        (self.keys)(received)
    }

    fn handle(&self, received: &Received, work: Work<'_>) -> HandlerResult<Effects> {
        let message: Do = received.decode()?;
        self.ledger.note(message.what);
        Ok(Effects {
            outbound: work.outbound,
            records: Vec::new(),
            pending: Vec::new(),
            taken: Taken::Handled,
            became: Vec::new(),
        })
    }
}

/// What a step does with messages.
type Passing = Box<dyn Fn(&mut Envelope) -> HandlerResult + Send + Sync>;

struct Step {
    incoming: Passing,
    outgoing: Passing,
}

impl Step {
    fn new() -> Self {
        Self {
            incoming: Box::new(|_| Ok(())),
            outgoing: Box::new(|_| Ok(())),
        }
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Step")
    }
}

impl PipelineStep for Step {
    fn name(&self) -> &str {
        "a step of the test"
    }

    fn incoming(&self, envelope: &mut Envelope) -> HandlerResult {
        (self.incoming)(envelope)
    }

    fn outgoing(&self, envelope: &mut Envelope) -> HandlerResult {
        (self.outgoing)(envelope)
    }
}

fn replay(world: &World) -> Incoming {
    let mut incoming = world.browse("error").remove(0).incoming;
    incoming
        .headers
        .retain(|(name, _)| !name.starts_with("longhaul.error."));
    incoming.headers.push(("longhaul.replay".into(), b"1".to_vec()));
    incoming
}

#[test]
fn when_finding_the_keys_of_a_message_panics_it_is_retried_and_set_aside_and_others_are_handled() {
    let world = World::new();
    let did = Ledger::default();
    let keyed = Keyed {
        ledger: did.clone(),
        keys: |received| {
            let message: Do = received.decode()?;
            assert_ne!(message.what, "empty", "there is no first line");
            Ok(Vec::new())
        },
    };
    let doer = world.start(world.endpoint("doer").stateful(keyed).retries(POLICY));
    world.inject("doer", command("m-1", "empty").into());
    world.inject("doer", command("m-2", "sweep").into());
    world.until("the other", || did.len() == 1);
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "handler-panicked");
    assert!(
        world
            .error_header(0, "longhaul.error.text")
            .contains("there is no first line")
    );
    assert_eq!(doer.monitor.stats().delayed_retries, 3);
    assert_eq!(world.error_header(0, "longhaul.error.attempts"), "12");
    world.inject("doer", command("m-1", "empty").into());
    world.until("the duplicate", || doer.monitor.stats().duplicates == 1);
    doer.stop(&world).expect("it never ended");
}

#[test]
fn when_there_is_no_store_and_a_step_panics_the_message_is_set_aside_and_others_are_handled() {
    let world = World::new();
    let did = Ledger::default();
    let step = Step {
        incoming: Box::new(|envelope| {
            assert_ne!(envelope.id.as_str(), "m-1", "not this one");
            Ok(())
        }),
        ..Step::new()
    };
    let doer = world
        .stateless("doer")
        .idempotent_handler::<Do>(Noter(did.clone()));
    let _doer = world.start(doer.step(step).retries(POLICY));
    world.inject("doer", command("m-1", "dust").into());
    world.inject("doer", command("m-2", "sweep").into());
    world.until("the other", || did.len() == 1);
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "handler-panicked");
    assert_eq!(world.error_header(0, "longhaul.error.attempts"), "12");
}

#[test]
fn when_a_step_panics_on_the_way_out_the_attempt_fails_and_the_endpoint_goes_on() {
    for has_store in [true, false] {
        let world = World::new();
        let did = Ledger::default();
        let step = Step {
            outgoing: Box::new(|envelope| {
                assert!(!envelope.body.starts_with(b"{\"what\":\"dust"), "no dust");
                Ok(())
            }),
            ..Step::new()
        };
        let doer = if has_store {
            world.endpoint("doer")
        } else {
            world.stateless("doer")
        };
        let failing = Failing::new(&did, |_, _| Ok(()));
        let doer = doer.idempotent_handler::<Do>(failing).step(step);
        let doer = world.start(doer.retries(RetryPolicy::none()));
        world.inject("doer", command("m-1", "dust").into());
        world.inject("doer", command("m-2", "sweep").into());
        world.until("the other", || doer.monitor.stats().handled == 1);
        world.until("the error", || world.browse("error").len() == 1);
        assert_eq!(world.error_header(0, "longhaul.error.reason"), "handler-panicked");
    }
}

#[test]
fn when_a_step_fails_for_a_moment_the_message_is_retried_and_handled() {
    let world = World::new();
    let did = Ledger::default();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let step = Step {
        incoming: Box::new(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
            0..=3 => Err(HandlerError::transient("the keys are being changed")),
            _ => Ok(()),
        }),
        ..Step::new()
    };
    let doer = world
        .endpoint("doer")
        .handler::<Do>(Noter(did.clone()))
        .step(step);
    let doer = world.start(doer.retries(POLICY));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("it", || did.len() == 1);
    assert_eq!(doer.monitor.stats().delayed_retries, 1);
    assert_eq!(tries.load(Ordering::SeqCst), 5);
    assert_eq!(world.browse("error").len(), 0);
}

#[test]
fn when_a_step_changes_messages_the_retry_and_the_error_queue_have_the_original() {
    for has_store in [true, false] {
        let world = World::new();
        let did = Ledger::default();
        let step = Step {
            incoming: Box::new(|envelope| {
                let sealed = envelope
                    .body
                    .strip_prefix(b"sealed:")
                    .ok_or_else(|| HandlerError::permanent("open the body: it is not sealed"))?;
                envelope.body = sealed.to_vec().into();
                envelope.headers.set("opened", "yes");
                Ok(())
            }),
            ..Step::new()
        };
        let failing = Failing::new(&did, |_, _| Err(HandlerError::transient("the printer burns")));
        let doer = if has_store {
            world.endpoint("doer")
        } else {
            world.stateless("doer")
        };
        let _doer = world.start(doer.idempotent_handler::<Do>(failing).step(step).retries(POLICY));
        let mut original = command("m-1", "sweep");
        original.body = [&b"sealed:"[..], &original.body].concat().into();
        world.inject("doer", original.clone().into());
        world.until("the error", || world.browse("error").len() == 1);
        assert_eq!(did.len(), 12, "with a store: {has_store}");
        let set_aside = world.browse("error").remove(0).incoming;
        assert_eq!(set_aside.body, original.body);
        assert!(set_aside.headers.iter().all(|(name, _)| name != "opened"));
    }
}

#[test]
fn when_a_type_is_dropped_between_two_rounds_the_message_set_aside_can_be_replayed() {
    let world = World::new();
    let did = Ledger::default();
    let failing = Failing::new(&did, |_, _| Err(HandlerError::transient("not yet")));
    let doer = world.start(world.endpoint("doer").handler::<Do>(failing).retries(POLICY));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("a retry", || doer.monitor.stats().delayed_retries == 1);
    world.pass(Duration::from_secs(1));
    doer.stop(&world).expect("stops");

    let without = world.start(world.endpoint("doer").handler::<Done>(Watcher(Ledger::default())));
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "unknown-type");
    assert_eq!(world.error_header(0, "longhaul.error.attempts"), "4");
    without.stop(&world).expect("stops");

    let did = Ledger::default();
    let doer = world.start(world.endpoint("doer").handler::<Do>(Noter(did.clone())));
    world.inject("doer", replay(&world));
    world.until("the replay", || doer.monitor.stats().handled == 1);
    assert_eq!(did.len(), 1);
}

#[test]
fn when_an_older_copy_of_a_message_being_retried_can_t_be_read_it_is_a_duplicate() {
    let world = World::new();
    let did = Ledger::default();
    let failing = Failing::new(&did, |_, attempt| match attempt {
        1..=3 => Err(HandlerError::transient("not yet")),
        _ => Ok(()),
    });
    let doer = world.start(world.endpoint("doer").handler::<Do>(failing).retries(POLICY));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("a retry", || doer.monitor.stats().delayed_retries == 1);
    let mut damaged = command("m-1", "sweep");
    damaged.headers.set("longhaul.type", "other");
    world.inject("doer", damaged.into());
    world.until("the duplicate", || doer.monitor.stats().duplicates == 1);
    world.until("the copy", || doer.monitor.stats().handled == 1);
    assert_eq!(world.browse("error").len(), 0);
}

#[test]
fn when_a_key_is_longer_than_stores_take_the_message_is_set_aside() {
    let world = World::new();
    let did = Ledger::default();
    let keyed = Keyed {
        ledger: did.clone(),
        keys: |received| {
            let message: Do = received.decode()?;
            Ok(vec![RecordKey::new("things", message.what)])
        },
    };
    let _doer = world.start(world.endpoint("doer").stateful(keyed));
    world.inject("doer", command("m-1", &"x".repeat(600)).into());
    world.inject("doer", command("m-2", "sweep").into());
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "bad-correlation");
    world.until("the other", || did.len() == 1);
}

#[test]
fn when_state_can_t_be_read_on_a_later_round_one_copy_is_set_aside_and_can_be_replayed() {
    let world = World::new();
    let did = Ledger::default();
    let faults = Faults::default();
    let keyed = Keyed {
        ledger: Ledger::default(),
        keys: |_| Ok(vec![RecordKey::new("things", "one")]),
    };
    let failing = Failing::new(&did, |_, attempt| match attempt {
        1..=3 => Err(HandlerError::transient("not yet")),
        _ => Ok(()),
    });
    let store = Faulty {
        memory: world.memory.clone(),
        faults: faults.clone(),
    };
    let doer = world.stateless("doer").persistence(store).retries(POLICY);
    let doer = world.start(doer.handler::<Do>(failing).stateful(keyed));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("a retry", || doer.monitor.stats().delayed_retries == 1);
    faults.fail_loads(usize::MAX, |request| {
        (!request.records.is_empty()).then_some(StoreErrorKind::Unreadable)
    });
    world.until("the error", || !world.browse("error").is_empty());
    world.pass(Duration::from_secs(60));
    assert_eq!(world.browse("error").len(), 1, "one copy");
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "unreadable-state");
    assert_eq!(world.error_header(0, "longhaul.error.attempts"), "4");
    assert_eq!(world.browse("doer").len(), 0, "it was acknowledged");
    faults.heal();
    world.inject("doer", replay(&world));
    world.until("the replay", || doer.monitor.stats().handled == 1);
}

#[test]
fn when_a_handled_message_comes_again_and_its_state_can_t_be_read_it_is_a_duplicate() {
    let world = World::new();
    let did = Ledger::default();
    let faults = Faults::default();
    let keyed = Keyed {
        ledger: did.clone(),
        keys: |_| Ok(vec![RecordKey::new("things", "one")]),
    };
    let store = Faulty {
        memory: world.memory.clone(),
        faults: faults.clone(),
    };
    let doer = world.start(world.stateless("doer").persistence(store).stateful(keyed));
    world.inject("doer", command("m-1", "sweep").into());
    world.until("it", || did.len() == 1);
    faults.fail_loads(usize::MAX, |request| {
        (!request.records.is_empty()).then_some(StoreErrorKind::Unreadable)
    });
    world.inject("doer", command("m-1", "sweep").into());
    world.until("the duplicate", || doer.monitor.stats().duplicates == 1);
    assert_eq!(world.browse("error").len(), 0);
}
