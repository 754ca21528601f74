//! Counters that keep their order behind a step that is refused, and an operator who discards that and lets the others pass.

use std::collections::BTreeSet;

use longhaul_core::Command;
use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::handler::{HandlerError, HandlerResult};
use longhaul_core::headers;
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
    .invariant("every step that was not discarded is taken once", taken_once)
    .invariant("only bad steps are discarded, and killers", only_bad)
}

/// Each that an operator discarded, and why it was in the error queue.
fn discarded(effects: &Effects) -> impl Iterator<Item = (Count, &str)> {
    let discarded = effects.discarded();
    discarded.filter_map(|sent| Some((sent.read::<Count>()?, sent.header(headers::ERROR_REASON)?)))
}

fn taken_once(effects: &Effects) -> Result<(), String> {
    let mut taken = Vec::new();
    for counter in effects.instances::<Counter>("counters") {
        let state = counter.state.unwrap_or_default();
        let counter = serde_json::from_str::<Counter>(&state).map_err(|error| error.to_string())?;
        taken.extend(counter.steps);
    }
    taken.sort_unstable();
    let discarded: BTreeSet<u64> = discarded(effects).map(|(count, _)| count.step).collect();
    let asked: BTreeSet<u64> = effects
        .messages::<Count>()
        .iter()
        .map(|count| count.step)
        .collect();
    let rest: Vec<u64> = asked.difference(&discarded).copied().collect();
    match taken == rest {
        true => Ok(()),
        false => Err(format!(
            "the steps {rest:?} were not discarded, and {taken:?} are taken"
        )),
    }
}

/// A good one may have been under way whenever its process ended.
fn only_bad(effects: &Effects) -> Result<(), String> {
    for (count, reason) in discarded(effects) {
        let is_killer = reason == Reason::KilledProcess.as_str();
        let is_bad = count.is_bad && reason == Reason::HandlerFailed.as_str();
        if !is_killer && !is_bad {
            return Err(format!("step {} failed with {reason}", count.step));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Faults;

    #[test]
    fn when_bad_steps_are_discarded_others_that_waited_are_let_pass() {
        let quiet = discards(12).faults(Faults::none()).draw(0).effects;
        assert!(quiet.history("counters").any(|unit| unit.parks()), "some waited");
        assert!(discarded(&quiet).count() > 1);
    }

    #[test]
    fn when_a_step_is_neither_taken_nor_discarded_it_is_found() {
        let effects = discards(12).faults(Faults::none()).draw(0).effects;
        assert_eq!((taken_once(&effects), only_bad(&effects)), (Ok(()), Ok(())));
        let none =
            Simulation::of(|world| world.endpoint("counters", |endpoint, _| endpoint.saga::<Counter>()));
        let workload = Workload::new().send(
            "counters",
            Count {
                counter: 1,
                step: 1,
                is_bad: true,
            },
        );
        let effects = none.workload(workload).faults(Faults::none()).draw(0).effects;
        assert!(taken_once(&effects).is_err(), "it is in the error queue");
    }
}
