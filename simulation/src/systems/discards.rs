//! Counters that keep their order behind a step that is refused, and an operator who discards that and lets the others pass.

use std::collections::BTreeSet;

use longhaul_core::Command;
use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::handler::{HandlerError, HandlerResult};
use longhaul_core::reason::Reason;
use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext, SagaEndpoint};
use serde::{Deserialize, Serialize};

use crate::effects::Effects;
use crate::outside::Outside;
use crate::random::Random;
use crate::simulation::Simulation;
use crate::workload::Workload;

/// A step of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Command, Serialize, Deserialize)]
#[message("sim.count.v1")]
struct Count {
    counter: u64,
    step: u64,
    is_bad: bool,
}

/// The steps that a counter has taken.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter {
    steps: Vec<u64>,
}

impl Saga for Counter {
    const NAME: &'static str = "sim-counter";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.keep_order();
        saga.starts_on(
            |m: &Count| m.counter,
            |m, ctx| {
                let mut counter = Self::default();
                counter.take(m, ctx).map(|()| counter)
            },
        );
        saga.handles(|m: &Count| m.counter, Self::take);
    }
}

impl Counter {
    fn take(&mut self, count: Count, _: &mut SagaContext<Self>) -> HandlerResult {
        if count.is_bad {
            return Err(HandlerError::permanent("take the step: it is bad"));
        }
        self.steps.push(count.step);
        Ok(())
    }
}

/// So many steps for a few counters, some of them bad, and an operator who discards those: all others are taken, once.
pub fn discards(steps: u64) -> Simulation {
    let mut random = Random::new(steps);
    let counts = (0..steps).map(|step| Count {
        counter: random.below(1 + steps / 6),
        step,
        is_bad: random.below(3) == 0,
    });
    let workload = Workload::new().send_each("counters", counts.collect::<Vec<_>>());
    Simulation::of(|world| {
        world
            .endpoint("counters", |endpoint: EndpointBuilder, _: &Outside| {
                endpoint.saga::<Counter>().operable_order()
            })
            .instances(2)
            .discarded()
    })
    .workload(workload)
    .invariant("every good step is taken once", taken_once)
    .invariant("only bad steps fail", |effects: &Effects| {
        only_bad(effects.reasons())
    })
}

fn taken_once(effects: &Effects) -> Result<(), String> {
    let mut taken = Vec::new();
    for counter in effects.instances::<Counter>("counters") {
        let state = counter.state.unwrap_or_default();
        let counter = serde_json::from_str::<Counter>(&state).map_err(|error| error.to_string())?;
        taken.extend(counter.steps);
    }
    taken.sort_unstable();
    let asked: BTreeSet<Count> = effects.messages::<Count>().into_iter().collect();
    let mut good: Vec<u64> = asked
        .iter()
        .filter(|count| !count.is_bad)
        .map(|count| count.step)
        .collect();
    good.sort_unstable();
    match taken == good {
        true => Ok(()),
        false => Err(format!("asked for the steps {good:?}, and {taken:?} are taken")),
    }
}

/// A step, or what lets others pass, may also have been taken up too often by a process that then ended.
fn only_bad<'a>(mut reasons: impl Iterator<Item = &'a str>) -> Result<(), String> {
    match reasons.find(|reason| *reason != Reason::HandlerFailed.as_str()) {
        Some(reason) => Err(format!("a message failed with {reason}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Faults;

    #[test]
    fn when_bad_steps_are_discarded_others_that_waited_are_let_pass() {
        let quiet = discards(12).faults(Faults::none()).draw(0).effects;
        assert!(quiet.history("counters").any(|unit| unit.parks()), "some waited");
        assert_eq!(taken_once(&quiet), Ok(()));
    }

    #[test]
    fn when_something_else_fails_it_is_found() {
        assert_eq!(only_bad(["handler-failed"].into_iter()), Ok(()));
        assert!(only_bad(["too-old"].into_iter()).is_err());
    }
}
