//! `timeouts`: each reminder comes once, in ten years as in one.

use std::time::Duration;

use longhaul::prelude::*;
use longhaul::testing::{Effects, Simulation, Workload};

use super::{SCHEDULES, nothing_failed};

#[expect(dead_code, reason = "the example has a main function of its own")]
#[path = "../../../examples/timeouts.rs"]
mod example;

use example::{CarBought, CarServiced, Guarantee, Printer, Remind};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn when_everything_goes_wrong_each_reminder_comes_once() {
    let car = |name: &str| name.to_owned();
    let workload = Workload::new()
        .publish(CarBought { car: car("red") })
        .after(Duration::from_secs(1))
        .publish(CarBought { car: car("blue") })
        .after(300 * DAY)
        .publish(CarServiced { car: car("blue") });
    Simulation::of(|world| {
        world.endpoint("garage", |endpoint, _| {
            endpoint
                .settings(|settings| settings.purge_interval = 30 * DAY)
                .saga::<Guarantee>()
                .handler::<Remind>(Printer)
        })
    })
    .workload(workload)
    .invariant("nothing fails for good", nothing_failed)
    .invariant("each reminder comes once", |effects: &Effects| {
        let mut reminders: Vec<String> = effects
            .messages::<Remind>()
            .into_iter()
            .map(|remind| remind.what)
            .collect();
        reminders.sort();
        let expected = [
            "blue: service",
            "blue: the guarantee ends",
            "red: service",
            "red: the guarantee ends",
        ];
        if reminders == expected {
            Ok(())
        } else {
            Err(format!("it reminded of {reminders:?}"))
        }
    })
    .check(SCHEDULES);
}
