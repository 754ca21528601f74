//! G6: a timeout never fires early and never gets lost; its row is the truth, and the broker's message only the alarm.

use std::borrow::Cow;
use std::time::Duration;

use longhaul::handler::Received;
use longhaul::headers::Headers;
use longhaul::message::MessageKind;
use longhaul::outbound::TimeoutRequest;
use longhaul::prelude::*;
use longhaul::stateful::{Accepts, Effects, StatefulHandler, Taken, Work};
use longhaul::store::{PendingChange, PendingKind, PendingRow, RecordKey, UnitOfWork};

use crate::world::{Do, Done, Ledger, World, address, command};

/// Asks for a timeout of as many seconds as a `Do` says, and notes the ones that fire.
struct Alarms(Ledger);

impl StatefulHandler for Alarms {
    fn name(&self) -> &str {
        "alarms"
    }

    fn accepts(&self) -> Vec<Accepts> {
        vec![
            Accepts {
                type_name: Cow::Borrowed(Do::NAME),
                kind: MessageKind::Command,
            },
            Accepts {
                type_name: Cow::Borrowed("test.alarm"),
                kind: MessageKind::Timeout,
            },
        ]
    }

    fn keys(&self, _received: &Received) -> HandlerResult<Vec<RecordKey>> {
        Ok(Vec::new())
    }

    fn handle(&self, received: &Received, mut work: Work<'_>) -> HandlerResult<Effects> {
        if let Some(row) = work.timeout {
            self.0.note(format!(
                "{} {}",
                row.name,
                received.now.since(row.due.expect("a due time")).as_millis()
            ));
        } else {
            let message: Do = received.decode()?;
            let seconds: u64 = message.what.parse()?;
            work.outbound.request_timeout(TimeoutRequest {
                id: received.envelope.id.clone(),
                owner: RecordKey::new("alarms", &message.what),
                name: message.what,
                type_name: Cow::Borrowed("test.alarm"),
                body: bytes_of("{}"),
                due: received.now + Duration::from_secs(seconds),
                headers: Headers::new(),
            });
        }
        let (records, pending) = (Vec::new(), Vec::new());
        Ok(Effects {
            outbound: work.outbound,
            records,
            pending,
            taken: Taken::Handled,
            became: Vec::new(),
        })
    }
}

fn bytes_of(text: &str) -> longhaul::envelope::Body {
    longhaul::envelope::Body::copy_from_slice(text.as_bytes())
}

fn rows(world: &World) -> Vec<PendingRow> {
    let rows = world
        .run(world.store("waker").admin().pending(None, 100))
        .expect("lists");
    rows.into_iter()
        .filter(|row| row.kind == PendingKind::Timeout)
        .collect()
}

fn change(world: &World, change: PendingChange) {
    let work = UnitOfWork {
        pending: vec![change],
        ..UnitOfWork::default()
    };
    world.run(world.store("waker").commit(work)).expect("commits");
}

#[test]
fn when_its_time_comes_a_timeout_fires_once_and_not_before() {
    let world = World::new();
    let fired = Ledger::default();
    let _waker = world.start(world.endpoint("waker").stateful(Alarms(fired.clone())));
    world.inject("waker", command("m-1", "3600").into());
    world.pass(Duration::from_millis(3_599_900));
    assert_eq!(fired.len(), 0);
    assert_eq!(rows(&world).len(), 1);
    world.pass(Duration::from_secs(60));
    assert_eq!(fired.entries(), ["3600 1"], "one tick after its instant");
    assert_eq!(rows(&world).len(), 0);
    world.pass(Duration::from_secs(86_400));
    assert_eq!(fired.len(), 1);
}

#[test]
fn when_a_timeout_is_years_over_the_brokers_limit_it_fires_in_its_time() {
    let world = World::new();
    let fired = Ledger::default();
    let waker = world.endpoint("waker").stateful(Alarms(fired.clone()));
    let _waker =
        world.start(waker.settings(|settings| settings.purge_interval = Duration::from_secs(86_400)));
    let seconds: u64 = 25 * 366 * 86_400;
    world.inject("waker", command("m-1", &seconds.to_string()).into());
    world.pass(Duration::from_secs(seconds - 1));
    assert_eq!(fired.len(), 0);
    world.pass(Duration::from_secs(30));
    assert_eq!(fired.len(), 1);
}

#[test]
fn when_the_broker_lost_the_alarm_the_timeout_fires_from_the_store_after_the_grace() {
    let world = World::new();
    let fired = Ledger::default();
    let waker = world.start(world.endpoint("waker").stateful(Alarms(fired.clone())));
    world.inject("waker", command("m-1", "3600").into());
    world.until("the alarm", || world.broker.len(&address("waker")) == Some(1));
    world.pass(Duration::from_secs(1));
    waker.stop(&world).expect("stops");
    world.delete_queue("waker");
    let waker = world.start(world.endpoint("waker").stateful(Alarms(fired.clone())));
    world.pass(Duration::from_secs(3605));
    world.until("it", || fired.len() == 1);
    assert_eq!(waker.monitor.stats().overdue, 1);
    let late: u64 = fired.entries()[0]
        .strip_prefix("3600 ")
        .expect("a lateness")
        .parse()
        .expect("a number");
    assert!((5000..10_000).contains(&late), "{late} ms late");
}

#[test]
fn when_the_endpoint_was_down_when_it_was_due_it_fires_at_the_next_start() {
    let world = World::new();
    let fired = Ledger::default();
    let waker = world.start(world.endpoint("waker").stateful(Alarms(fired.clone())));
    world.inject("waker", command("m-1", "3600").into());
    world.until("the row", || rows(&world).len() == 1);
    waker.stop(&world).expect("stops");
    world.pass(Duration::from_secs(20 * 86_400));
    let _waker = world.start(world.endpoint("waker").stateful(Alarms(fired.clone())));
    world.until("it", || fired.len() == 1);
    world.pass(Duration::from_secs(86_400));
    assert_eq!(fired.len(), 1);
}

#[test]
fn when_a_timeout_was_cancelled_its_alarm_is_counted_and_does_nothing() {
    let world = World::new();
    let fired = Ledger::default();
    let waker = world.start(world.endpoint("waker").stateful(Alarms(fired.clone())));
    world.inject("waker", command("m-1", "3600").into());
    world.until("the row", || rows(&world).len() == 1);
    world.pass(Duration::from_secs(1));
    change(&world, PendingChange::Cancel(rows(&world)[0].id.clone()));
    world.pass(Duration::from_secs(2 * 3600));
    assert_eq!(fired.len(), 0);
    assert_eq!(waker.monitor.stats().stale_alarms, 1);
}

#[test]
fn when_a_timeout_is_moved_it_fires_once_at_its_new_time() {
    for (to, name) in [(1800, "earlier"), (7200, "later")] {
        let world = World::new();
        let fired = Ledger::default();
        let _waker = world.start(world.endpoint("waker").stateful(Alarms(fired.clone())));
        let start = world.clock.now();
        world.inject("waker", command("m-1", "3600").into());
        world.until("the row", || rows(&world).len() == 1);
        world.pass(Duration::from_secs(10));
        let due = start + Duration::from_secs(to);
        change(
            &world,
            PendingChange::Move {
                id: rows(&world)[0].id.clone(),
                due,
                attention: world.clock.now(),
            },
        );
        world.pass(due.since(world.clock.now()) - Duration::from_millis(1));
        assert_eq!(fired.len(), 0, "{name}");
        world.pass(Duration::from_secs(40));
        assert_eq!(fired.len(), 1, "{name}");
        world.pass(Duration::from_secs(3 * 3600));
        assert_eq!(fired.len(), 1, "{name}");
    }
}

#[test]
fn when_a_hundred_thousand_timeouts_are_due_at_once_all_of_them_fire() {
    let world = World::new();
    let fired = Ledger::default();
    let waker = world.start(world.endpoint("waker").stateful(Alarms(fired.clone())));
    let count = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
    for n in 0..count {
        world.inject("waker", command(&format!("m-{n}"), "3600").into());
    }
    world.until("all rows", || waker.monitor.stats().handled == count);
    world.pass(Duration::from_secs(2 * 3600));
    world.until("all of them", || u64::try_from(fired.len()) == Ok(count));
}

/// Fails to handle its first alarms as the function says, given how many came before.
struct Moody(Alarms, fn(usize) -> HandlerResult);

impl StatefulHandler for Moody {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn accepts(&self) -> Vec<Accepts> {
        self.0.accepts()
    }

    fn keys(&self, received: &Received) -> HandlerResult<Vec<RecordKey>> {
        self.0.keys(received)
    }

    fn handle(&self, received: &Received, work: Work<'_>) -> HandlerResult<Effects> {
        if work.timeout.is_some() {
            let before = self.0.0.len();
            if let Err(error) = (self.1)(before) {
                self.0.0.note("failed");
                return Err(error);
            }
        }
        self.0.handle(received, work)
    }
}

#[test]
fn when_a_replayed_timeout_fails_once_more_it_is_retried_and_fires() {
    let world = World::new();
    let fired = Ledger::default();
    let moody = Moody(Alarms(fired.clone()), |before| match before {
        0 => Err(HandlerError::permanent("no such card")),
        1 => Err(HandlerError::transient("the printer burns")),
        _ => Ok(()),
    });
    let policy = RetryPolicy {
        immediate: 0,
        jitter: false,
        ..RetryPolicy::machine()
    };
    let waker = world.start(world.endpoint("waker").stateful(moody).retries(policy));
    world.inject("waker", command("m-1", "60").into());
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.sizes("waker").parked, 1);
    let mut replay = world.browse("error").remove(0).incoming;
    replay
        .headers
        .retain(|(name, _)| !name.starts_with("longhaul.error."));
    replay.headers.push(("longhaul.replay".into(), b"1".to_vec()));
    world.inject("waker", replay);
    world.until("it fails again", || fired.len() == 2);
    world.until("it", || fired.len() == 3);
    world.pass(Duration::from_secs(1));
    assert_eq!(rows(&world).len(), 0);
    assert_eq!(waker.monitor.stats().stale_alarms, 0);
}

/// A waker whose first alarm fails for good, with the alarm as it lies in the error queue.
fn failed_alarm(world: &World, fired: &Ledger) -> (crate::world::Running, longhaul::envelope::Incoming) {
    let moody = Moody(Alarms(fired.clone()), |before| match before {
        0 => Err(HandlerError::permanent("no such card")),
        _ => Ok(()),
    });
    let waker = world.start(world.endpoint("waker").stateful(moody));
    world.inject("waker", command("m-1", "60").into());
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.sizes("waker").parked, 1);
    let mut failed = world.browse("error").remove(0).incoming;
    failed
        .headers
        .retain(|(name, _)| !name.starts_with("longhaul.error."));
    (waker, failed)
}

#[test]
fn when_a_failed_timeout_is_edited_and_replayed_under_a_new_id_it_fires() {
    let world = World::new();
    let fired = Ledger::default();
    let (waker, mut edited) = failed_alarm(&world, &fired);
    let old = String::from_utf8(edited.id.take().expect("an id")).expect("a text");
    edited.body = bytes_of(r#"{"other":1}"#);
    edited.id = Some(
        longhaul::ids::edited_message_id(&old, &edited.body)
            .as_str()
            .as_bytes()
            .to_vec(),
    );
    edited.headers.retain(|(name, _)| name != "longhaul.causation");
    edited
        .headers
        .push(("longhaul.causation".into(), old.into_bytes()));
    world.inject("waker", edited);
    world.until("it", || fired.len() == 2);
    world.pass(Duration::from_secs(1));
    assert_eq!(rows(&world).len(), 0);
    assert_eq!(waker.monitor.stats().stale_alarms, 0);
}

#[test]
fn when_a_failed_timeout_is_moved_it_fires_at_its_new_time_and_its_old_alarm_means_nothing() {
    let world = World::new();
    let fired = Ledger::default();
    let (waker, mut replay) = failed_alarm(&world, &fired);
    let id = rows(&world).remove(0).id;
    let now = world.clock.now();
    let due = now + Duration::from_secs(600);
    change(
        &world,
        PendingChange::Move {
            id,
            due,
            attention: now,
        },
    );
    replay.headers.push(("longhaul.replay".into(), b"1".to_vec()));
    world.inject("waker", replay);
    world.until("it is stale", || waker.monitor.stats().stale_alarms == 1);
    world.pass(Duration::from_secs(590));
    assert_eq!(fired.len(), 1);
    world.until("it", || fired.len() == 2);
    world.pass(Duration::from_secs(60));
    assert_eq!(rows(&world).len(), 0);
}

#[test]
fn when_a_timeout_asked_for_with_as_many_headers_as_are_allowed_fires_it_is_handled() {
    let world = World::new();
    let fired = Ledger::default();
    let moody = Moody(Alarms(fired.clone()), |before| match before {
        0 => Err(HandlerError::transient("the printer burns")),
        _ => Ok(()),
    });
    let policy = RetryPolicy {
        immediate: 0,
        ..RetryPolicy::machine()
    };
    let limits = longhaul::limits::Limits {
        // What a timeout of this world is written with.
        headers: 8,
        ..longhaul::limits::Limits::default()
    };
    let _waker = world.start(
        world
            .endpoint("waker")
            .stateful(moody)
            .limits(limits)
            .retries(policy),
    );
    world.inject("waker", command("m-1", "60").into());
    world.until("it", || fired.len() == 2);
    assert_eq!(world.browse("error").len(), 0);
}

/// A queue that is never empty must not keep overdue timeouts from firing.
#[test]
fn when_a_long_queue_waits_at_the_start_overdue_timeouts_fire_meanwhile() {
    const TIMEOUTS: usize = 600;
    const MESSAGES: usize = 3_000;
    let world = World::new();
    let log = Ledger::default();
    let waker = || {
        world
            .endpoint("waker")
            .stateful(Alarms(log.clone()))
            .handler::<Done>(Notes(log.clone()))
    };
    let running = world.start(waker());
    for number in 0..TIMEOUTS {
        world.inject("waker", command(&format!("t-{number}"), "60").into());
    }
    world.until("the timeouts", || {
        world.sizes("waker").timeouts == TIMEOUTS as u64
    });
    running.stop(&world).expect("stops");
    // The broker loses the alarms, and the queue fills while nobody is there.
    while !world.browse("waker").is_empty() {
        for browsed in world.browse("waker") {
            let id = String::from_utf8(browsed.incoming.id.expect("an id")).expect("a text");
            let id = MessageId::new(id).expect("an id");
            world
                .run(world.broker.take(&address("waker"), &id))
                .expect("takes");
        }
    }
    world.pass(Duration::from_secs(3600));
    let shop = world.stateless("shop").build();
    let shop = world.run(shop).expect("builds").session();
    for number in 0..MESSAGES {
        world
            .run(shop.publish(Done {
                what: number.to_string(),
            }))
            .expect("sends");
    }
    let running = world.start(waker());
    world.until("all", || log.len() == TIMEOUTS + MESSAGES);
    let entries = log.entries();
    let first = entries
        .iter()
        .position(|entry| entry.starts_with("60 "))
        .expect("fired");
    assert!(first <= 600, "the first timeout fired after {first} messages");
    running.stop(&world).expect("stops");
}

/// Notes each message.
struct Notes(Ledger);

impl Handler<Done> for Notes {
    async fn handle(&self, done: Done, _: &mut Context) -> HandlerResult {
        self.0.note(done.what);
        Ok(())
    }
}
