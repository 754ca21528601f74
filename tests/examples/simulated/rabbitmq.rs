//! `rabbitmq`: the programs of the example with a bank that fails like a real one.

use longhaul::prelude::*;
use longhaul::sagas::Outcome;
use longhaul::testing::{Effects, Outside, Simulation, Workload};

use super::{SCHEDULES, nothing_failed};

#[expect(dead_code, reason = "the example has a main function of its own")]
#[path = "../../../examples/rabbitmq/sales.rs"]
mod sales;
#[expect(dead_code, reason = "the example has a main function of its own")]
#[path = "../../../examples/rabbitmq/shipping.rs"]
mod shipping;

use sales::OrderSaga;
use sales::messages::billing::{CardCharged, CardRefunded, CardRefused, ChargeCard, RefundCard};
use sales::messages::sales::PlaceOrder;
use sales::messages::shipping::ShipOrder;
use shipping::Shipping;

/// The example's payment gateway moves files; this one asks a third party that knows idempotency keys too.
struct Billing(Outside);

impl Handler<ChargeCard> for Billing {
    async fn handle(&self, charge: ChargeCard, ctx: &mut Context) -> HandlerResult {
        if charge.card == "stolen" {
            ctx.reply(CardRefused {});
            return Ok(());
        }
        let key = ctx.idempotency_key();
        self.0.once("charge", &charge.order, 1, key).await?;
        ctx.reply(CardCharged {
            receipt: String::from("charged"),
        });
        Ok(())
    }
}

impl Handler<RefundCard> for Billing {
    async fn handle(&self, refund: RefundCard, ctx: &mut Context) -> HandlerResult {
        let key = ctx.idempotency_key();
        self.0.once("refund", &refund.order, 1, key).await?;
        ctx.reply(CardRefunded {
            receipt: String::from("refunded"),
        });
        Ok(())
    }
}

/// Each with what is charged and what is refunded for it.
const ORDERS: [(&str, &str, &str, Outcome, usize, usize); 4] = [
    ("a", "chair", "good", Outcome::Completed, 1, 0),
    ("b", "unicorn", "good", Outcome::Compensated, 1, 1),
    ("c", "chair", "stolen", Outcome::Compensated, 0, 0),
    ("d", "table", "good", Outcome::Completed, 1, 0),
];

#[test]
fn when_everything_goes_wrong_what_is_not_shipped_is_not_paid() {
    let placed = ORDERS.map(|(order, item, card, ..)| PlaceOrder {
        order: order.into(),
        item: item.into(),
        card: card.into(),
        cents: 4200,
    });
    Simulation::of(|world| {
        world
            .endpoint("sales", |endpoint, _| {
                endpoint
                    .saga::<OrderSaga>()
                    .route::<ChargeCard>("billing")
                    .route::<RefundCard>("billing")
                    .route::<ShipOrder>("shipping")
            })
            .storeless("billing", |endpoint, outside| {
                endpoint
                    .idempotent_handler::<ChargeCard>(Billing(outside.clone()))
                    .idempotent_handler::<RefundCard>(Billing(outside.clone()))
            })
            .instances(2)
            .endpoint("shipping", |endpoint, _| {
                endpoint.handler::<shipping::messages::ShipOrder>(Shipping)
            })
    })
    .workload(Workload::new().send_each("sales", placed))
    .invariant("nothing fails for good", nothing_failed)
    .invariant(
        "each order ends as it must, and the money with it",
        |effects: &Effects| {
            for (order, _, _, outcome, charged, refunded) in &ORDERS {
                let instance = effects.instance::<OrderSaga>("sales", &String::from(*order));
                let found = instance.and_then(|instance| instance.outcome);
                let money = (effects.count("charge", order), effects.count("refund", order));
                if found.as_ref() != Some(outcome) || money != (*charged, *refunded) {
                    return Err(format!(
                        "order {order}: {found:?}, charged and refunded {money:?} times"
                    ));
                }
            }
            Ok(())
        },
    )
    .check(SCHEDULES);
}
