//! A saga that keeps its order: a message that failed holds up its own instance only, timeouts too.

use std::time::Duration;

use longhaul::envelope::{Envelope, Intent};
use longhaul::headers::{self, Headers};
use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

use crate::world::{Ledger, World};

#[derive(Debug, Event, Serialize, Deserialize)]
#[message("test.counter_set.v1")]
struct CounterSet {
    counter: u64,
    to: u64,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[message("test.counted.v1")]
struct Counted {
    text: String,
}

#[derive(Serialize, Deserialize)]
struct Counter {
    counter: u64,
}

#[derive(Serialize, Deserialize)]
struct Reminder;

impl Counter {
    fn set(set: &CounterSet, ctx: &mut SagaContext<Self>) -> HandlerResult {
        // What a later version of the code can do.
        if set.to == 13 && ctx.now() < Timestamp::parse("2026-01-02T00:00:00Z")? {
            return Err(HandlerError::permanent("thirteen is not supported yet"));
        }
        let text = format!("{}={}", set.counter, set.to);
        ctx.publish(Counted { text });
        Ok(())
    }
}

impl Saga for Counter {
    const NAME: &'static str = "counter";
    type Id = u64;
    type Timeout = Reminder;

    fn define(saga: &mut Definition<Self>) {
        saga.keep_order();
        saga.starts_on(
            |m: &CounterSet| m.counter,
            |set, ctx| {
                Self::set(&set, ctx)?;
                ctx.request_timeout(Duration::from_secs(600), Reminder);
                Ok(Self { counter: set.counter })
            },
        );
        saga.handles(
            |m: &CounterSet| m.counter,
            |_: &mut Self, set, ctx| Self::set(&set, ctx),
        );
        saga.times_out(|saga, _, ctx| {
            let text = format!("{}: time", saga.counter);
            ctx.publish(Counted { text });
            Ok(())
        });
    }
}

struct Watcher(Ledger);

impl Handler<Counted> for Watcher {
    async fn handle(&self, counted: Counted, _: &mut Context) -> HandlerResult {
        self.0.note(counted.text);
        Ok(())
    }
}

fn set(counter: u64, to: u64) -> Envelope {
    let headers = Headers::from_iter([
        (headers::INTENT, Intent::Publish.as_str()),
        (headers::TYPE, CounterSet::NAME),
        (headers::CONTENT_TYPE, "application/json"),
    ]);
    let id = MessageId::new(format!("{counter}-{to}")).expect("an id");
    let body = serde_json::to_vec(&CounterSet { counter, to }).expect("encodes");
    Envelope::new(id, headers, body.into())
}

#[test]
fn when_a_saga_keeps_its_order_messages_and_timeouts_of_an_instance_wait_behind_one_that_failed() {
    let world = World::new();
    let saw = Ledger::default();
    let start = || world.start(world.endpoint("counters").saga::<Counter>());
    let counters = start();
    let _watcher = world.start(world.endpoint("watcher").handler::<Counted>(Watcher(saw.clone())));
    for envelope in [set(1, 1), set(2, 1), set(1, 13)] {
        world.inject("counters", envelope.into());
    }
    world.until("the error", || world.browse("error").len() == 1);
    for envelope in [set(1, 2), set(2, 2), set(1, 3)] {
        world.inject("counters", envelope.into());
    }
    world.until("what is of the other", || saw.len() == 3);
    world.pass(Duration::from_secs(1200));
    assert_eq!(
        counters.monitor.stats().set_aside,
        3,
        "two messages and a timeout"
    );
    assert_eq!(saw.entries(), ["1=1", "2=1", "2=2", "2: time"]);
    counters.stop(&world).expect("stops");
    world.pass(Duration::from_secs(86_400));
    let _counters = start();
    world.pass(Duration::from_secs(60));
    assert_eq!(saw.len(), 4);
    let mut replay = set(1, 13);
    replay.headers.set("longhaul.replay", "1");
    world.inject("counters", replay.into());
    world.until("all", || saw.len() == 8);
    assert_eq!(saw.entries()[4..], ["1=13", "1=2", "1=3", "1: time"]);
    assert_eq!(
        world.sizes("counters").timeouts + world.sizes("counters").parked,
        0
    );
}
