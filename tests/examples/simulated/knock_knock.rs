//! `knock_knock`: each order counts once, and no longer than a week.

use std::time::Duration;

use longhaul::prelude::*;
use longhaul::sagas::Outcome;
use longhaul::testing::{Effects, Simulation, Workload};

use super::{SCHEDULES, nothing_failed};

#[expect(dead_code, reason = "the example has a main function of its own")]
#[path = "../../../examples/knock_knock.rs"]
mod example;

use example::{CustomerTotal, OrderSubmitted, ProcessOrder, Processed};

const ORDERS: u32 = 6;

#[test]
fn when_everything_goes_wrong_each_order_is_processed_once_and_forgotten_after_a_week() {
    // Hours apart, so that none overtakes another.
    let workload = (0..ORDERS).fold(Workload::new(), |workload, order| {
        let submitted = OrderSubmitted {
            customer: String::from(["Ada", "Grace"][order as usize % 2]),
            order,
            cents: 6_000,
        };
        workload.publish(submitted).after(Duration::from_secs(6 * 3600))
    });
    Simulation::of(|world| {
        world.endpoint("shop", |endpoint, _| {
            endpoint
                .saga::<CustomerTotal>()
                .handler::<ProcessOrder>(Processed::default())
        })
    })
    .workload(workload)
    .invariant("nothing fails for good", nothing_failed)
    .invariant("each order is processed once", processed_once)
    .invariant("nothing is left of what was ordered", |effects: &Effects| {
        let totals = effects.instances::<CustomerTotal>("shop");
        totals.len() == 2
            && totals
                .iter()
                .all(|total| total.outcome == Some(Outcome::Completed))
    })
    .check(SCHEDULES);
}

fn processed_once(effects: &Effects) -> Result<(), String> {
    let mut processed: Vec<(u32, u64)> = effects
        .messages::<ProcessOrder>()
        .into_iter()
        .map(|process| (process.order, process.percent_off))
        .collect();
    processed.sort_unstable();
    // 60.00 each: the third one of a customer comes after 120.00 within the week.
    if processed == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 10), (5, 10)] {
        Ok(())
    } else {
        Err(format!("processed {processed:?}"))
    }
}
