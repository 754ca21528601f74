//! The saga of one order: charge, ship, or undo.

use std::time::Duration;

use longhaul::prelude::*;
use longhaul::sagas::{CompensationPolicy, Definition, Saga, SagaContext};
use serde::{Deserialize, Serialize};

use crate::kill::messages::{
    CardCharged, CardRefunded, CardRefused, ChargeCard, OrderCancelled, OrderCompleted, OrderShipped,
    OutOfStock, ParcelRecalled, PlaceOrder, RecallParcel, RefundCard, ShipOrder,
};
use crate::kill::orders::{self, Kind};

/// How long the customers of slow orders wait.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);
/// How long all others do; longer than any run.
const PATIENCE: Duration = Duration::from_secs(3600);

#[derive(Serialize, Deserialize)]
pub(crate) struct OrderSaga {
    order: u64,
    cents: u64,
    charged: u32,
    shipped: u32,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Deadline {
    Patience,
}

impl Saga for OrderSaga {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &PlaceOrder| m.order, Self::start);
        saga.on_reply(Self::on_charged);
        saga.on_reply(Self::on_refused);
        saga.on_reply(Self::on_shipped);
        saga.on_reply(Self::on_out_of_stock);
        saga.expects::<CardRefunded>();
        saga.expects::<ParcelRecalled>();
        saga.times_out(Self::on_deadline);
        saga.compensated(Self::on_compensated);
        saga.compensation(CompensationPolicy {
            undo_within: PATIENCE,
            ..CompensationPolicy::default()
        });
    }
}

impl OrderSaga {
    #[expect(clippy::needless_pass_by_value, reason = "the shape of a saga's function")]
    fn start(placed: PlaceOrder, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let PlaceOrder { order, cents } = placed;
        ctx.send(ChargeCard { order, cents })
            .undo_with(RefundCard { order, cents })
            .done_by::<CardCharged>()
            .undone_by::<CardRefunded>();
        let patience = if orders::kind(order) == Kind::Slow {
            SHORT_PATIENCE
        } else {
            PATIENCE
        };
        ctx.request_timeout(patience, Deadline::Patience);
        Ok(Self {
            order,
            cents,
            charged: 0,
            shipped: 0,
        })
    }

    fn on_charged(&mut self, _: CardCharged, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let order = self.order;
        self.charged += 1;
        ctx.send(ShipOrder { order })
            .undo_with(RecallParcel { order })
            .done_by::<OrderShipped>()
            .undone_by::<ParcelRecalled>();
        Ok(())
    }

    fn on_refused(&mut self, _: CardRefused, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.compensate("the card was refused");
        Ok(())
    }

    fn on_shipped(&mut self, _: OrderShipped, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.shipped += 1;
        ctx.publish(OrderCompleted {
            order: self.order,
            cents: self.cents,
            told: (self.charged, self.shipped),
        });
        ctx.complete();
        Ok(())
    }

    fn on_out_of_stock(&mut self, _: OutOfStock, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.compensate("out of stock");
        Ok(())
    }

    #[expect(clippy::needless_pass_by_value, reason = "the shape of a saga's function")]
    fn on_deadline(&mut self, deadline: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match deadline {
            Deadline::Patience => ctx.compensate("the customer's patience ended"),
        }
        Ok(())
    }

    fn on_compensated(&mut self, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.publish(OrderCancelled { order: self.order });
        Ok(())
    }
}
