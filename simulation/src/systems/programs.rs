//! Random saga programs: each is plain data, so that what must come of it can be computed without running it.

mod draw;
mod expected;
mod runner;
mod services;

use longhaul_core::Command;
use longhaul_core::endpoint::EndpointBuilder;
use longhaul_sagas::SagaEndpoint;
use serde::{Deserialize, Serialize};

use self::draw::draw;
use self::expected::{compare, found};
use self::runner::Runner;
use self::services::{Add, Counter, PayIn, PayOut, Subtract, Till};
use super::{nothing_failed, persistent};
use crate::effects::Effects;
use crate::outside::Outside;
use crate::simulation::Simulation;
use crate::workload::Workload;
use crate::world::World;

/// How many counters all programs contend for.
const COUNTERS: u8 = 3;

/// How long a program may wait for by itself, in seconds: finished programs must still be known when the last one ends.
const DAYS: u64 = 3 * 86_400;
const MINUTES: u64 = 300;

/// A program is to be run.
#[derive(Debug, Clone, PartialEq, Eq, Command, Serialize, Deserialize)]
#[message("sim.run_program.v1")]
struct Program {
    id: u64,
    steps: Vec<Step>,
}

/// What a program does next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    /// Makes calls, all at once, and goes on when all are answered.
    All(Vec<Call>),
    /// Makes a call, and goes on at once.
    Fork(Call),
    /// Waits for so many seconds.
    Wait(u64),
    /// Asks for an alarm after so many seconds, and goes on.
    Alarm(u64),
    /// Has the last alarm ring after so many seconds from now instead, if it has not rung.
    Move(u64),
    /// Forgets the last alarm, if it has not rung.
    Cancel,
    /// Waits for the last alarm, if it has not rung.
    Await,
    /// Gives up, and has everything undone.
    Fail,
}

/// One call of another endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Call {
    /// Its place among all calls of the program.
    number: u8,
    to: Callee,
    amount: i64,
    answer: Answer,
    /// The answer comes so many seconds later.
    slow: u32,
    undo: Undo,
}

/// Who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Callee {
    /// One of the counters, which all programs contend for.
    Counter(u8),
    /// A third party, through an endpoint without a store.
    Till,
}

/// What a callee answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    Done,
    /// It does nothing, and the program goes on all the same.
    Refused,
    /// It does nothing, and the program gives up.
    Fatal,
}

/// How a call is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Undo {
    /// Not at all.
    Never,
    /// At once.
    Once,
    /// At the second attempt: the first is refused.
    Twice,
    /// Nobody waits for the answer to the call for as long as it takes, so that it is undone after all others.
    Late,
}

/// So many random programs at the same time, drawn from a seed. `is_shared`: two processes keep the counters; they look
/// into their store every second, and so these programs take minutes, and not days.
pub fn programs(seed: u64, count: u64, is_shared: bool) -> Simulation {
    let most = if is_shared { MINUTES } else { DAYS };
    let drawn: Vec<Program> = (0..count).map(|id| draw(seed, id, most)).collect();
    let world = move |world: World| {
        let programs = |endpoint: EndpointBuilder, _: &Outside| {
            let endpoint = endpoint.saga::<Runner>();
            let endpoint = endpoint.route::<Add>("counters");
            let endpoint = endpoint.route::<Subtract>("counters").route::<PayIn>("till");
            endpoint.route::<PayOut>("till")
        };
        let till = |endpoint: EndpointBuilder, outside: &Outside| {
            let endpoint = endpoint.retries(persistent());
            let endpoint = endpoint.idempotent_handler::<PayIn>(Till(outside.clone()));
            endpoint.idempotent_handler::<PayOut>(Till(outside.clone()))
        };
        world
            .endpoint("programs", programs)
            .endpoint("counters", |endpoint, _| endpoint.saga::<Counter>())
            .instances(1 + u8::from(is_shared))
            .storeless("till", till)
    };
    Simulation::of(world)
        .workload(Workload::new().send_each("programs", drawn))
        .invariant("every program has its computed end", |effects: &Effects| {
            compare(&effects.messages::<Program>(), &found(effects))
        })
        .invariant("nothing fails for good", nothing_failed)
}
