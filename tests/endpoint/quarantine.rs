//! Order behind a message that failed for good: later ones of its instance wait, and nobody else does.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longhaul::envelope::Envelope;
use longhaul::handler::Received;
use longhaul::headers;
use longhaul::message::MessageKind;
use longhaul::pipeline::PipelineStep;
use longhaul::prelude::*;
use longhaul::stateful::{Accepts, Effects, StatefulHandler, Taken, Work};
use longhaul::store::{PendingChange, PendingRow, RecordChange, RecordKey, UnitOfWork};

use crate::world::{Do, Ledger, Running, World, command};

/// Messages of one order are kept in order.
#[derive(Debug)]
pub(crate) struct ByOrder;

impl PipelineStep for ByOrder {
    fn name(&self) -> &str {
        "by order"
    }

    fn incoming(&self, envelope: &mut Envelope) -> HandlerResult {
        if let Some(order) = envelope.headers.get("order").map(str::to_owned) {
            envelope.headers.set(headers::ORDERING_KEY, order);
        }
        Ok(())
    }
}

/// Notes what it did; can't do what is bad, as long as it is broken.
#[derive(Clone, Default)]
pub(crate) struct Doer {
    is_mended: Arc<AtomicBool>,
    pub(crate) did: Ledger,
}

impl Doer {
    fn mend(&self) {
        self.is_mended.store(true, Ordering::SeqCst);
    }

    fn take(&self, what: &str) -> HandlerResult {
        if what.starts_with("bad") && !self.is_mended.load(Ordering::SeqCst) {
            return Err(HandlerError::permanent("no such thing"));
        }
        self.did.note(what);
        Ok(())
    }
}

impl Handler<Do> for Doer {
    async fn handle(&self, command: Do, _: &mut Context) -> HandlerResult {
        self.take(&command.what)
    }
}

pub(crate) fn of_order(order: &str, id: &str, what: &str) -> Envelope {
    let mut command = command(id, what);
    command.headers.set("order", order);
    command
}

fn replay(mut envelope: Envelope) -> Envelope {
    envelope.headers.set("longhaul.replay", "1");
    envelope
}

pub(crate) fn start(world: &World, doer: &Doer) -> Running {
    world.start(world.endpoint("doer").step(ByOrder).handler::<Do>(doer.clone()))
}

#[test]
fn when_a_message_has_failed_later_ones_of_its_order_wait_through_a_restart_and_follow_its_replay() {
    let world = World::new();
    let doer = Doer::default();
    let running = start(&world, &doer);
    world.inject("doer", of_order("a", "a-1", "bad 1").into());
    world.until("the error", || world.browse("error").len() == 1);
    for n in 2..5 {
        world.inject("doer", of_order("a", &format!("a-{n}"), &n.to_string()).into());
    }
    world.inject("doer", of_order("b", "b-1", "other").into());
    world.inject("doer", command("c-1", "another").into());
    world.until("the others", || doer.did.len() == 2);
    world.until("three that wait", || running.monitor.stats().set_aside == 3);
    world.pass(Duration::from_secs(3600));
    assert!(world.browse("doer").is_empty());
    assert_eq!(world.browse("error").len(), 1);
    let waiting = world.run(running.session.waiting(None, 10)).expect("lists");
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].name.as_str(), waiting[0].behind), ("a", 3));
    assert_eq!(waiting[0].first.as_str(), "a-1");
    assert_eq!(world.sizes("doer").parked, 3, "operators see them");
    running.stop(&world).expect("stops");

    let running = start(&world, &doer);
    world.inject("doer", of_order("a", "a-5", "5").into());
    world.until("one more", || running.monitor.stats().set_aside == 1);
    doer.mend();
    world.inject("doer", replay(of_order("a", "a-1", "bad 1")).into());
    world.until("all", || doer.did.len() == 7);
    assert_eq!(doer.did.entries()[2..], ["bad 1", "2", "3", "4", "5"]);
    assert!(
        world
            .run(running.session.waiting(None, 10))
            .expect("lists")
            .is_empty()
    );
    world.pass(Duration::from_secs(60));
    assert_eq!(world.sizes("doer").parked, 0);
    assert_eq!(world.sizes("doer").unsent, 0);
    world.inject("doer", of_order("a", "a-6", "6").into());
    world.until("what comes later", || doer.did.len() == 8);
}

#[test]
fn when_one_that_waited_fails_too_the_rest_waits_behind_it_whatever_is_replayed() {
    let world = World::new();
    let doer = Doer::default();
    let mended = Doer {
        did: doer.did.clone(),
        ..Doer::default()
    };
    let running = start(&world, &doer);
    let message = |n: usize| of_order("a", &format!("a-{n}"), if n < 3 { "bad" } else { "good" });
    world.inject("doer", message(1).into());
    world.until("the error", || world.browse("error").len() == 1);
    for n in 2..5 {
        world.inject("doer", message(n).into());
    }
    world.until("three that wait", || running.monitor.stats().set_aside == 3);
    // It fails again, and nobody passes it.
    world.inject("doer", replay(message(1)).into());
    world.until("the error", || world.browse("error").len() == 2);
    assert_eq!(doer.did.len(), 0);
    // The first is let go: the second follows, and fails.
    let passed = world.run(running.session.let_pass(&MessageId::new("a-1").expect("an id")));
    assert_eq!(passed.expect("passes"), 1);
    world.until("the second", || world.browse("error").len() == 3);
    let waiting = world.run(running.session.waiting(None, 10)).expect("lists");
    assert_eq!((waiting[0].first.as_str(), waiting[0].behind), ("a-2", 2));
    running.stop(&world).expect("stops");
    mended.mend();
    let _running = start(&world, &mended);
    // What was let go comes last now.
    world.inject("doer", replay(message(1)).into());
    world.pass(Duration::from_secs(60));
    assert_eq!(doer.did.len(), 0);
    world.inject("doer", replay(message(2)).into());
    world.until("all", || doer.did.len() == 4);
    assert_eq!(doer.did.entries(), ["bad", "good", "good", "bad"]);
}

#[test]
fn when_a_failed_message_is_edited_and_replayed_under_a_new_id_it_stands_where_the_old_one_did() {
    let world = World::new();
    let doer = Doer::default();
    let running = start(&world, &doer);
    world.inject("doer", of_order("a", "a-1", "bad").into());
    world.until("the error", || world.browse("error").len() == 1);
    world.inject("doer", of_order("a", "a-2", "2").into());
    world.until("one that waits", || running.monitor.stats().set_aside == 1);
    let mut edited = of_order("a", "a-1", "1");
    edited.headers.set("longhaul.causation", "a-1");
    edited.id = longhaul::ids::edited_message_id("a-1", &edited.body);
    world.inject("doer", edited.into());
    world.until("both", || doer.did.len() == 2);
    assert_eq!(doer.did.entries(), ["1", "2"]);
}

#[test]
fn when_an_edited_message_fails_too_its_own_edit_stands_in_the_same_place() {
    let world = World::new();
    let doer = Doer::default();
    let running = start(&world, &doer);
    let edited = |old: &str, what: &str| {
        let mut edited = of_order("a", old, what);
        edited.headers.set("longhaul.causation", old);
        edited.id = longhaul::ids::edited_message_id(old, &edited.body);
        edited
    };
    world.inject("doer", of_order("a", "a-1", "bad").into());
    world.until("the error", || world.browse("error").len() == 1);
    world.inject("doer", of_order("a", "a-2", "2").into());
    world.until("one that waits", || running.monitor.stats().set_aside == 1);
    let once = edited("a-1", "bad, too");
    world.inject("doer", once.clone().into());
    world.until("the error", || world.browse("error").len() == 2);
    let waiting = world.run(running.session.waiting(None, 10)).expect("lists");
    assert_eq!(
        (waiting[0].first.as_str(), waiting[0].behind),
        (once.id.as_str(), 1)
    );
    world.inject("doer", edited(once.id.as_str(), "1").into());
    world.until("both", || doer.did.len() == 2);
    assert_eq!(doer.did.entries(), ["1", "2"]);
}

#[test]
fn when_a_message_is_replayed_whose_cause_has_failed_it_does_not_take_the_place_of_that() {
    let world = World::new();
    let doer = Doer::default();
    let running = start(&world, &doer);
    world.inject("doer", of_order("a", "a-1", "bad").into());
    world.until("the error", || world.browse("error").len() == 1);
    world.inject("doer", of_order("a", "a-2", "2").into());
    world.until("one that waits", || running.monitor.stats().set_aside == 1);
    let mut follows = of_order("a", "a-3", "3");
    follows.headers.set("longhaul.causation", "a-1");
    world.inject("doer", replay(follows).into());
    world.until("another", || running.monitor.stats().set_aside == 2);
    doer.mend();
    world.inject("doer", replay(of_order("a", "a-1", "bad")).into());
    world.until("all", || doer.did.len() == 3);
    assert_eq!(doer.did.entries(), ["bad", "2", "3"]);
}

#[test]
fn when_what_waits_in_order_can_t_be_read_a_message_goes_to_the_error_queue_and_not_round() {
    let world = World::new();
    let doer = Doer::default();
    let running = start(&world, &doer);
    world.inject("doer", of_order("a", "a-1", "bad").into());
    world.until("the error", || world.browse("error").len() == 1);
    let store = world.store("doer");
    let found = world.run(store.admin().records("longhaul/quarantine", None, 10));
    let record = found.expect("lists").remove(0);
    let broken = UnitOfWork {
        records: vec![RecordChange::Put {
            key: record.key,
            expected: Some(record.version),
            body: "{".into(),
            expires: None,
        }],
        ..UnitOfWork::default()
    };
    world.run(store.commit(broken)).expect("commits");
    world.inject("doer", of_order("a", "a-2", "2").into());
    world.until("the error", || world.browse("error").len() == 2);
    assert_eq!(world.error_header(1, "longhaul.error.reason"), "unreadable-state");
    // It keeps no other from being let pass.
    for order in ["b", "c", "d"] {
        let before = (world.browse("error").len(), running.monitor.stats().set_aside);
        world.inject("doer", of_order(order, &format!("{order}-1"), "bad").into());
        world.until("the error", || world.browse("error").len() > before.0);
        world.inject("doer", of_order(order, &format!("{order}-2"), order).into());
        world.until("one that waits", || running.monitor.stats().set_aside > before.1);
        let first = MessageId::new(format!("{order}-1")).expect("an id");
        assert_eq!(world.run(running.session.let_pass(&first)).expect("passes"), 1);
        world.until("it", || {
            doer.did.entries().last().map(String::as_str) == Some(order)
        });
    }
    world.pass(Duration::from_secs(60));
    assert!(world.browse("doer").is_empty());
}

#[test]
fn when_one_that_waited_must_be_retried_later_the_rest_does_not_overtake_it() {
    let world = World::new();
    let did = Ledger::default();
    let running = world.start(
        world
            .endpoint("doer")
            .step(ByOrder)
            .handler::<Do>(Moody(did.clone())),
    );
    world.inject("doer", of_order("a", "a-1", "bad").into());
    world.until("the error", || world.browse("error").len() == 1);
    for n in 2..4 {
        let what = if n == 2 { "moody" } else { "good" };
        world.inject("doer", of_order("a", &format!("a-{n}"), what).into());
    }
    world.until("two that wait", || running.monitor.stats().set_aside == 2);
    let passed = world.run(running.session.let_pass(&MessageId::new("a-1").expect("an id")));
    assert_eq!(passed.expect("passes"), 1);
    world.until("an attempt", || running.monitor.stats().delayed_retries > 0);
    let again = world.run(running.session.let_pass(&MessageId::new("a-2").expect("an id")));
    assert_eq!(again.expect("asks"), 0, "it is being handled again");
    world.until("the last", || {
        did.entries().last().is_some_and(|last| last == "good")
    });
    let attempts = did.entries();
    assert_eq!(attempts.len(), 10, "bad once, moody eight times: {attempts:?}");
    assert!(running.monitor.stats().delayed_retries > 0);
}

/// Takes what is moody at the eighth attempt.
struct Moody(Ledger);

impl Handler<Do> for Moody {
    async fn handle(&self, command: Do, ctx: &mut Context) -> HandlerResult {
        self.0.note(&command.what);
        match command.what.as_str() {
            "bad" => Err(HandlerError::permanent("no such thing")),
            "moody" if ctx.received().attempt < 8 => Err(HandlerError::transient("not yet")),
            _ => Ok(()),
        }
    }
}

/// Has one record for each letter of what is to be done.
struct Letters(Doer);

impl StatefulHandler for Letters {
    fn name(&self) -> &str {
        "letters"
    }

    fn accepts(&self) -> Vec<Accepts> {
        vec![Accepts {
            type_name: Cow::Borrowed(Do::NAME),
            kind: MessageKind::Command,
        }]
    }

    fn keys(&self, received: &Received) -> HandlerResult<Vec<RecordKey>> {
        let letters = received.envelope.headers.get("letters").unwrap_or_default();
        let key = |letter: char| RecordKey::new("letters", letter.to_string());
        Ok(letters.chars().map(key).collect())
    }

    fn handle(&self, received: &Received, work: Work<'_>) -> HandlerResult<Effects> {
        let command: Do = received.decode()?;
        self.0.take(&command.what)?;
        Ok(Effects {
            outbound: work.outbound,
            records: Vec::new(),
            pending: Vec::new(),
            taken: Taken::Handled,
            became: Vec::new(),
        })
    }

    fn keeps_order(&self) -> bool {
        true
    }
}

#[test]
fn when_a_message_is_of_two_instances_it_waits_for_both_and_others_wait_for_it() {
    let world = World::new();
    let doer = Doer::default();
    let running = world.start(world.endpoint("doer").stateful(Letters(doer.clone())));
    let message = |letters: &str, what: &str| {
        let mut message = command(what, what);
        message.headers.set("letters", letters);
        message
    };
    for (letters, what) in [("x", "bad x"), ("y", "bad y")] {
        world.inject("doer", message(letters, what).into());
    }
    world.until("the errors", || world.browse("error").len() == 2);
    for (letters, what) in [("xy", "xy"), ("y", "y"), ("x", "x"), ("yz", "yz"), ("z", "z")] {
        world.inject("doer", message(letters, what).into());
    }
    world.inject("doer", message("w", "w").into());
    world.until("the other", || doer.did.len() == 1);
    world.until("five that wait", || running.monitor.stats().set_aside == 5);
    doer.mend();
    world.inject("doer", replay(message("y", "bad y")).into());
    world.until("the first", || doer.did.len() == 2);
    world.pass(Duration::from_secs(60));
    assert_eq!(
        doer.did.entries(),
        ["w", "bad y"],
        "xy still waits for x, and all others for it"
    );
    world.inject("doer", replay(message("x", "bad x")).into());
    world.until("all", || doer.did.len() == 8);
    let did = doer.did.entries();
    let at = |what: &str| did.iter().position(|did| did == what).expect("it was done");
    assert_eq!(did[2], "bad x");
    assert_eq!(did[3], "xy");
    assert!(at("y") < at("yz") && at("yz") < at("z"), "{did:?}");
    assert!(
        world
            .run(running.session.waiting(None, 10))
            .expect("lists")
            .is_empty()
    );
}

/// One that was sent on its way by one instance may not have come yet when the next of another instance is looked for.
#[test]
fn when_the_next_of_an_instance_is_on_its_way_already_those_behind_it_wait_for_it() {
    let world = World::new();
    let doer = Doer::default();
    let running = world.start(world.endpoint("doer").stateful(Letters(doer.clone())));
    let message = |letters: &str, what: &str| {
        let mut message = command(what, what);
        message.headers.set("letters", letters);
        message
    };
    for (letters, what) in [("x", "bad x"), ("y", "bad y")] {
        world.inject("doer", message(letters, what).into());
    }
    world.until("the errors", || world.browse("error").len() == 2);
    for (letters, what) in [("xy", "xy"), ("y", "y")] {
        world.inject("doer", message(letters, what).into());
    }
    world.until("two that wait", || running.monitor.stats().set_aside == 2);
    let store = world.store("doer");
    let rows = world.run(store.admin().pending(None, 10)).expect("lists");
    let is_of_both = |row: &PendingRow| row.envelope.headers.get("letters") == Some("xy");
    let both = rows.into_iter().find(is_of_both).expect("it waits");
    let sent = UnitOfWork {
        pending: vec![PendingChange::Sent(both.id.clone())],
        ..UnitOfWork::default()
    };
    world.run(store.commit(sent)).expect("commits");
    doer.mend();
    world.inject("doer", replay(message("y", "bad y")).into());
    world.until("the first", || doer.did.len() == 1);
    world.pass(Duration::from_secs(60));
    assert_eq!(doer.did.entries(), ["bad y"]);
    // It comes, waits for the other instance, and goes first all the same.
    world.inject("doer", both.outgoing().into());
    world.until("it waits", || running.monitor.stats().set_aside == 3);
    world.inject("doer", replay(message("x", "bad x")).into());
    world.until("all", || doer.did.len() == 4);
    assert_eq!(doer.did.entries(), ["bad y", "bad x", "xy", "y"]);
}

#[test]
fn when_too_many_wait_the_next_goes_to_the_error_queue_and_says_so() {
    let world = World::new();
    let doer = Doer::default();
    let running = start(&world, &doer);
    world.inject("doer", of_order("a", "a-0", "bad").into());
    world.until("the error", || world.browse("error").len() == 1);
    for n in 1..=1000 {
        world.inject("doer", of_order("a", &format!("a-{n}"), "good").into());
    }
    world.until("the error", || world.browse("error").len() == 2);
    assert_eq!(running.monitor.stats().set_aside, 999);
    assert_eq!(world.error_header(1, "longhaul.error.reason"), "quarantined");
}
