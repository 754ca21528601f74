//! Timeouts that are moved far away and near again, within moments.

use std::time::Duration;

use longhaul_core::Command;
use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::handler::HandlerResult;
use longhaul_sagas::{Definition, Outcome, Saga, SagaContext, SagaEndpoint, TimeoutId};
use serde::{Deserialize, Serialize};

use crate::effects::Effects;
use crate::outside::Outside;
use crate::simulation::Simulation;
use crate::workload::Workload;

/// When an alarm rings if nobody moves it.
const AT_FIRST: Duration = Duration::from_secs(300);
/// Farther than a broker with leases keeps a delay.
const FAR: Duration = Duration::from_secs(6 * 3600);
const NEAR: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.set_alarm.v1")]
struct SetAlarm {
    alarm: u64,
}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.move_alarm.v1")]
struct MoveAlarm {
    alarm: u64,
    is_far: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Ring;

/// An alarm clock.
#[derive(Debug, Serialize, Deserialize)]
struct Alarm {
    timeout: TimeoutId,
}

impl Saga for Alarm {
    const NAME: &'static str = "sim-alarm";
    type Id = u64;
    type Timeout = Ring;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |m: &SetAlarm| m.alarm,
            |_, ctx| {
                let timeout = ctx.request_timeout(AT_FIRST, Ring);
                Ok(Self { timeout })
            },
        );
        saga.handles(|m: &MoveAlarm| m.alarm, Self::on_move);
        saga.times_out(|_, _, ctx| {
            ctx.complete();
            Ok(())
        });
    }
}

impl Alarm {
    fn on_move(&mut self, moved: MoveAlarm, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.move_timeout(&self.timeout, if moved.is_far { FAR } else { NEAR });
        Ok(())
    }
}

/// So many alarms that are moved far away and, some milliseconds later, near again: that each fires in time is a rule.
pub fn alarms(count: u64) -> Simulation {
    let mut workload = Workload::new();
    for alarm in 0..count {
        workload = workload
            .send("alarms", SetAlarm { alarm })
            .after(Duration::from_millis(100))
            .send("alarms", MoveAlarm { alarm, is_far: true })
            .after(Duration::from_millis(1 + alarm))
            .send("alarms", MoveAlarm { alarm, is_far: false });
    }
    Simulation::of(|world| {
        world.endpoint("alarms", |endpoint: EndpointBuilder, _: &Outside| {
            endpoint.saga::<Alarm>()
        })
    })
    .workload(workload)
    .invariant("each alarm rings once", |effects: &Effects| {
        for SetAlarm { alarm } in effects.messages::<SetAlarm>() {
            let instance = effects.instance::<Alarm>("alarms", &alarm);
            let outcome = instance.and_then(|instance| instance.outcome);
            if outcome != Some(Outcome::Completed) {
                return Err(format!("alarm {alarm} ended as {outcome:?}"));
            }
        }
        Ok(())
    })
}
