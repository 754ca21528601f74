//! `sqs`: the programs of the example, on a broker like SQS.

use longhaul::prelude::*;
use longhaul::sagas::Outcome;
use longhaul::testing::{Effects, FaultKind, Faults, Personality, Simulation, Workload};

use super::{SCHEDULES, nothing_failed};

#[expect(dead_code, reason = "the example has a main function of its own")]
#[path = "../../../examples/sqs/orders.rs"]
mod orders;
#[expect(dead_code, reason = "the example has a main function of its own")]
#[path = "../../../examples/sqs/warehouse.rs"]
mod warehouse;

use orders::OrderSaga;
use orders::messages::orders::{OrderConfirmed, OrderRejected, PlaceOrder};
use warehouse::Warehouse;
use warehouse::messages::ReserveItem;

/// The example's warehouse, which answers about everything, where yachts are forgotten.
struct Forgetful;

impl Handler<ReserveItem> for Forgetful {
    async fn handle(&self, reserve: ReserveItem, ctx: &mut Context) -> HandlerResult {
        if reserve.item == "yacht" {
            return Ok(());
        }
        Warehouse.handle(reserve, ctx).await
    }
}

fn simulation() -> Simulation {
    let items = ["teapot", "unicorn", "yacht", "teapot", "unicorn"];
    let placed = (0..).zip(items).map(|(number, item)| PlaceOrder {
        order: format!("order-{number}"),
        item: item.into(),
    });
    Simulation::of(|world| {
        world
            .endpoint("orders", |endpoint, _| {
                endpoint
                    .saga::<OrderSaga>()
                    .route::<orders::messages::warehouse::ReserveItem>("warehouse")
            })
            .storeless("warehouse", |endpoint, _| {
                endpoint.idempotent_handler::<ReserveItem>(Forgetful)
            })
            .instances(2)
    })
    .on(Personality::Sqs)
    .workload(Workload::new().send_each("orders", placed))
    .invariant("nothing fails for good", nothing_failed)
    .invariant("each order ends once", |effects: &Effects| {
        each_ends(effects, |_, ends| ends == (1, 0) || ends == (0, 1))
    })
}

/// Whether each order is completed, and its confirmations and rejections are as they must be for its item.
fn each_ends(effects: &Effects, is_right: impl Fn(&str, (usize, usize)) -> bool) -> Result<(), String> {
    let (confirmed, rejected) = (
        effects.messages::<OrderConfirmed>(),
        effects.messages::<OrderRejected>(),
    );
    for PlaceOrder { order, item } in effects.messages::<PlaceOrder>() {
        let instance = effects.instance::<OrderSaga>("orders", &order);
        let outcome = instance.and_then(|instance| instance.outcome);
        let ends = (
            confirmed.iter().filter(|end| end.order == order).count(),
            rejected.iter().filter(|end| end.order == order).count(),
        );
        if outcome != Some(Outcome::Completed) || !is_right(&item, ends) {
            return Err(format!(
                "{order} for a {item}: {outcome:?}, confirmed and rejected {ends:?} times"
            ));
        }
    }
    Ok(())
}

/// A clock that is set forward by an hour may bring the deadline before the answer.
#[test]
fn when_everything_goes_wrong_each_order_ends_once() {
    simulation().check(SCHEDULES);
}

#[test]
fn when_everything_but_the_clocks_goes_wrong_what_is_there_is_confirmed_and_nothing_else() {
    simulation()
        .faults(Faults::all().without(FaultKind::Clock))
        .invariant("what is there is confirmed", |effects: &Effects| {
            each_ends(effects, |item, ends| {
                ends == if item == "teapot" { (1, 0) } else { (0, 1) }
            })
        })
        .check(SCHEDULES);
}
