//! `order_fulfilment`: the saga with departments whose bank, store rooms and carriers fail like real ones.

use longhaul::prelude::*;
use longhaul::sagas::Outcome;
use longhaul::testing::{Effects, Outside, Simulation, Unreachable, Workload};

use super::{SCHEDULES, nothing_failed};

#[path = "../../../examples/order_fulfilment/messages.rs"]
mod messages;
#[path = "../../../examples/order_fulfilment/sales.rs"]
mod sales;

use messages::{
    CardCharged, CardDeclined, CardRefunded, ChargeCard, OrderCancelled, OrderCompleted, OrderShipped,
    PlaceOrder, RefundCard, ReleaseStock, ReserveStock, ShipOrder, StockReleased, StockReserved,
};
use sales::OrderSaga;

const ORDERS: u64 = 6;

/// The departments of the example note what they do in files; these ask third parties.
struct Department(Outside);

impl Department {
    async fn have(&self, what: &str, order: u64, cents: u64, ctx: &Context) -> Result<(), Unreachable> {
        let cents = i64::try_from(cents).unwrap_or(i64::MAX);
        let key = ctx.idempotency_key();
        self.0.once(what, &order.to_string(), cents, key).await
    }
}

impl Handler<ReserveStock> for Department {
    async fn handle(&self, reserve: ReserveStock, ctx: &mut Context) -> HandlerResult {
        self.have("reserve", reserve.order, 0, ctx).await?;
        ctx.reply(StockReserved {});
        Ok(())
    }
}

impl Handler<ReleaseStock> for Department {
    async fn handle(&self, release: ReleaseStock, ctx: &mut Context) -> HandlerResult {
        self.have("release", release.order, 0, ctx).await?;
        ctx.reply(StockReleased {});
        Ok(())
    }
}

impl Handler<ShipOrder> for Department {
    async fn handle(&self, ship: ShipOrder, ctx: &mut Context) -> HandlerResult {
        self.have("ship", ship.order, 0, ctx).await?;
        ctx.reply(OrderShipped {});
        Ok(())
    }
}

impl Handler<ChargeCard> for Department {
    async fn handle(&self, charge: ChargeCard, ctx: &mut Context) -> HandlerResult {
        match charge.order % 3 {
            0 => {
                self.have("charge", charge.order, charge.cents, ctx).await?;
                ctx.reply(CardCharged {});
            }
            1 => {
                ctx.reply(CardDeclined {});
            }
            // It takes the money, and nobody hears of it.
            _ => self.have("charge", charge.order, charge.cents, ctx).await?,
        }
        Ok(())
    }
}

impl Handler<RefundCard> for Department {
    async fn handle(&self, refund: RefundCard, ctx: &mut Context) -> HandlerResult {
        self.have("refund", refund.order, 0, ctx).await?;
        ctx.reply(CardRefunded {});
        Ok(())
    }
}

#[test]
fn when_everything_goes_wrong_each_order_ends_once_and_the_money_adds_up() {
    let placed = (0..ORDERS).map(|order| PlaceOrder { order, cents: 1999 });
    Simulation::of(|world| {
        world
            .endpoint("sales", |endpoint, _| {
                endpoint
                    .saga::<OrderSaga>()
                    .route::<ReserveStock>("warehouse")
                    .route::<ReleaseStock>("warehouse")
                    .route::<ShipOrder>("warehouse")
                    .route::<ChargeCard>("billing")
                    .route::<RefundCard>("billing")
            })
            .endpoint("warehouse", |endpoint, outside| {
                endpoint
                    .handler::<ReserveStock>(Department(outside.clone()))
                    .handler::<ReleaseStock>(Department(outside.clone()))
                    .handler::<ShipOrder>(Department(outside.clone()))
            })
            .endpoint("billing", |endpoint, outside| {
                endpoint
                    .handler::<ChargeCard>(Department(outside.clone()))
                    .handler::<RefundCard>(Department(outside.clone()))
            })
    })
    .workload(Workload::new().send_each("sales", placed))
    .invariant("nothing fails for good", nothing_failed)
    .invariant("each order ends once, and adds up", adds_up)
    .check(SCHEDULES);
}

fn adds_up(effects: &Effects) -> Result<(), String> {
    for order in 0..ORDERS {
        let outcome = effects
            .instance::<OrderSaga>("sales", &order)
            .and_then(|instance| instance.outcome);
        let completed = effects.messages::<OrderCompleted>().into_iter();
        let cancelled = effects.messages::<OrderCancelled>().into_iter();
        let ends = (
            completed.filter(|m| m.order == order).count(),
            cancelled.filter(|m| m.order == order).count(),
        );
        let done = ["reserve", "release", "charge", "refund", "ship"]
            .map(|what| effects.count(what, &order.to_string()));
        let is_right = match outcome {
            Some(Outcome::Completed) => ends == (1, 0) && done == [1, 0, 1, 0, 1],
            // Giving back what was never taken does no harm.
            Some(Outcome::Compensated) => {
                ends == (0, 1) && done[..2] == [1, 1] && done[2] <= done[3] && done[3] <= 1
            }
            _ => false,
        };
        if !is_right {
            return Err(format!(
                "order {order} ended as {outcome:?} with {ends:?} endings: it was reserved, released, charged, refunded \
                 and shipped {done:?} times"
            ));
        }
    }
    Ok(())
}
