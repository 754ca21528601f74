//! `marketplace`: what the saga does for some orders is what the truth says of them.

use std::time::Duration;

use longhaul::prelude::*;
use longhaul::testing::{Effects, Simulation, Workload};

use super::{SCHEDULES, nothing_failed};
use crate::effects::{Billing, Care, Effect, Kind, Ledger, Warehouse, count};
use crate::messages::{
    OrderCompleted, OrderDelivered, OrderPlaced, PaymentApproved, RefundPayment, ReleaseStock, ReserveStock,
    SendVoucher,
};
use crate::orders::Order;
use crate::saga::{OrderSaga, PAY_WITHIN};
use crate::truth;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Longer than anything that goes wrong: clocks are set by an hour, three times at most.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// Orders that are paid and delivered in time, at the last instant, too late, or never, in several combinations.
fn orders() -> Vec<Order> {
    let combinations = [
        (Some(HOUR), Some(2 * DAY)),
        (Some(PAY_WITHIN), Some(5 * DAY)),
        (Some(PAY_WITHIN + SECOND), None),
        (Some(HOUR), Some(5 * DAY + SECOND)),
        (Some(HOUR), None),
        (None, None),
        (Some(4 * DAY), Some(PAY_WITHIN)),
    ];
    let purchased = Timestamp::parse("2026-01-01T00:00:10Z").expect("a time");
    let order = |(number, (approved, delivered)): (usize, (Option<Duration>, Option<Duration>))| Order {
        id: format!("order-{number}"),
        purchased,
        approved: approved.map(|after| purchased + after),
        shipped: None,
        delivered: delivered.map(|after| purchased + after),
        estimated: purchased + 5 * DAY,
    };
    combinations.into_iter().enumerate().map(order).collect()
}

/// Publishes what happened a second after it did.
fn workload(orders: &[Order]) -> Workload {
    type Publish = Box<dyn Fn(Workload) -> Workload>;
    let mut happened: Vec<(Timestamp, Publish)> = Vec::new();
    for order in orders {
        let (id, at, estimated) = (order.id.clone(), order.purchased, order.estimated);
        let placed = move |workload: Workload| {
            workload.publish(OrderPlaced {
                order: id.clone(),
                at,
                estimated,
                patience: PATIENCE.as_secs(),
            })
        };
        happened.push((at, Box::new(placed)));
        if let Some(at) = order.approved {
            let order = order.id.clone();
            let approved = move |workload: Workload| {
                workload.publish(PaymentApproved {
                    order: order.clone(),
                    at,
                })
            };
            happened.push((at, Box::new(approved)));
        }
        if let Some(at) = order.delivered {
            let order = order.id.clone();
            let delivered = move |workload: Workload| {
                workload.publish(OrderDelivered {
                    order: order.clone(),
                    at,
                })
            };
            happened.push((at, Box::new(delivered)));
        }
    }
    happened.sort_by_key(|(at, _)| *at);
    let mut now = happened[0].0;
    happened
        .into_iter()
        .fold(Workload::new().after(11 * SECOND), |workload, (at, publish)| {
            let pause = at.since(now);
            now = at;
            publish(workload.after(pause))
        })
}

/// What was done, as the endpoints around the saga are told.
fn done(effects: &Effects) -> Vec<Effect> {
    let effect = |(order, kind)| Effect { order, kind };
    let reserved = effects.messages::<ReserveStock>().into_iter();
    let released = effects.messages::<ReleaseStock>().into_iter();
    let refunded = effects.messages::<RefundPayment>().into_iter();
    let vouchers = effects.messages::<SendVoucher>().into_iter();
    let completed = effects.messages::<OrderCompleted>().into_iter();
    reserved
        .map(|m| (m.order, Kind::StockReserved))
        .chain(released.map(|m| (m.order, Kind::StockReleased)))
        .chain(refunded.map(|m| (m.order, Kind::PaymentRefunded)))
        .chain(vouchers.map(|m| (m.order, Kind::VoucherSent)))
        .chain(completed.map(|m| {
            let kind = if m.in_time {
                Kind::DeliveredInTime
            } else {
                Kind::DeliveredLate
            };
            (m.order, kind)
        }))
        .map(effect)
        .collect()
}

fn ledger() -> Ledger {
    Ledger::Memory(std::sync::Arc::default())
}

#[test]
fn when_everything_goes_wrong_the_orders_come_to_what_the_truth_says() {
    let orders = orders();
    let requests = workload(&orders);
    Simulation::of(|world| {
        world
            .endpoint("orders", |endpoint, _| {
                endpoint
                    .saga::<OrderSaga>()
                    .route::<ReserveStock>("warehouse")
                    .route::<ReleaseStock>("warehouse")
                    .route::<RefundPayment>("billing")
                    .route::<SendVoucher>("care")
            })
            .endpoint("warehouse", |endpoint, _| {
                endpoint
                    .handler::<ReserveStock>(Warehouse(ledger()))
                    .handler::<ReleaseStock>(Warehouse(ledger()))
            })
            .endpoint("billing", |endpoint, _| {
                endpoint.handler::<RefundPayment>(Billing(ledger()))
            })
            .endpoint("care", |endpoint, _| {
                endpoint
                    .handler::<SendVoucher>(Care(ledger()))
                    .handler::<OrderCompleted>(Care(ledger()))
            })
    })
    .workload(requests)
    .invariant("nothing fails for good", nothing_failed)
    .invariant("it comes to what the truth says", move |effects: &Effects| {
        let (found, expected) = (count(&done(effects)), truth::of(&orders));
        if found == expected {
            Ok(())
        } else {
            Err(format!("{found:?}, but the truth is {expected:?}"))
        }
    })
    .check(SCHEDULES);
}
