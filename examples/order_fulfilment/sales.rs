//! The saga of one order: stock, payment, shipping. What goes wrong undoes what was done.

use std::time::Duration;

use longhaul::prelude::*;
use longhaul::sagas::TimeoutId;
use serde::{Deserialize, Serialize};

use super::messages::{
    CardCharged, CardDeclined, CardRefunded, ChargeCard, OrderCancelled, OrderCompleted, OrderShipped,
    PlaceOrder, RefundCard, ReleaseStock, ReserveStock, ShipOrder, StockReleased, StockReserved,
};

/// How long the bank may take to answer. In a shop it would be hours; nobody wants to watch that.
const PAYMENT_WITHIN: Duration = Duration::from_secs(2);

/// Everything that must be remembered of an order until it ends.
#[derive(Serialize, Deserialize)]
pub(crate) struct OrderSaga {
    order: u64,
    cents: u64,
    payment_overdue: Option<TimeoutId>,
    /// Whether billing ever said something.
    answered: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Deadline {
    PaymentOverdue,
}

impl Saga for OrderSaga {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &PlaceOrder| m.order, Self::start);
        saga.on_reply(Self::on_stock_reserved);
        saga.on_reply(Self::on_card_charged);
        saga.on_reply(Self::on_card_declined);
        saga.on_reply(Self::on_order_shipped);
        saga.times_out(Self::on_deadline);
        // Answers to what is undone need no code here.
        saga.expects::<CardRefunded>();
        saga.expects::<StockReleased>();
        saga.compensated(Self::on_everything_undone);
    }
}

impl OrderSaga {
    fn start(PlaceOrder { order, cents }: PlaceOrder, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        ctx.send(ReserveStock { order })
            .undo_with(ReleaseStock { order })
            .done_by::<StockReserved>()
            .undone_by::<StockReleased>();
        Ok(Self {
            order,
            cents,
            payment_overdue: None,
            answered: false,
        })
    }

    fn on_stock_reserved(&mut self, _: StockReserved, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let Self { order, cents, .. } = *self;
        // Some banks never answer. So this step counts as done once it is sent, and its undo does no harm where nothing
        // was charged.
        ctx.send(ChargeCard { order, cents })
            .undo_with(RefundCard { order })
            .undone_by::<CardRefunded>();
        self.payment_overdue = Some(ctx.request_timeout(PAYMENT_WITHIN, Deadline::PaymentOverdue));
        Ok(())
    }

    fn on_card_charged(&mut self, _: CardCharged, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.note_answer(ctx);
        ctx.send(ShipOrder { order: self.order });
        Ok(())
    }

    fn on_card_declined(&mut self, _: CardDeclined, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.note_answer(ctx);
        ctx.compensate("the card was declined");
        Ok(())
    }

    fn note_answer(&mut self, ctx: &mut SagaContext<Self>) {
        self.answered = true;
        if let Some(timeout) = self.payment_overdue.take() {
            ctx.cancel_timeout(&timeout);
        }
    }

    fn on_order_shipped(&mut self, _: OrderShipped, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.publish(OrderCompleted { order: self.order });
        ctx.complete();
        Ok(())
    }

    fn on_deadline(&mut self, deadline: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match deadline {
            Deadline::PaymentOverdue => ctx.compensate("the bank did not answer"),
        }
        Ok(())
    }

    fn on_everything_undone(&mut self, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.publish(OrderCancelled {
            order: self.order,
            answered: self.answered,
        });
        Ok(())
    }
}
