//! The endpoints around the saga: ordinary handlers that do something in the world, note it in their ledger, and reply.

use std::sync::Arc;

use longhaul::ids::{Randomness, SeededRandomness};
use longhaul::prelude::*;

use crate::ledger::{Ledger, What};
use crate::messages::{
    CardCharged, CardDeclined, CardRefunded, ChargeCard, OrderCancelled, OrderCompleted, OrderShipped,
    RefundCard, ReleaseStock, ReserveStock, ShipOrder, StockReleased, StockReserved,
};

/// Keeps and ships the goods.
#[derive(Clone)]
pub(crate) struct Warehouse(pub(crate) Arc<Ledger>);

impl Handler<ReserveStock> for Warehouse {
    async fn handle(&self, reserve: ReserveStock, ctx: &mut Context) -> HandlerResult {
        self.0
            .note(ctx.idempotency_key(), reserve.order, |_| (What::Reserved, 0))
            .await?;
        ctx.reply(StockReserved {});
        Ok(())
    }
}

impl Handler<ReleaseStock> for Warehouse {
    async fn handle(&self, release: ReleaseStock, ctx: &mut Context) -> HandlerResult {
        self.0
            .note(ctx.idempotency_key(), release.order, |_| (What::Released, 0))
            .await?;
        ctx.reply(StockReleased {});
        Ok(())
    }
}

impl Handler<ShipOrder> for Warehouse {
    async fn handle(&self, ship: ShipOrder, ctx: &mut Context) -> HandlerResult {
        self.0
            .note(ctx.idempotency_key(), ship.order, |_| (What::Shipped, 0))
            .await?;
        ctx.reply(OrderShipped {});
        Ok(())
    }
}

/// Takes and returns money.
#[derive(Clone)]
pub(crate) struct Billing {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) seed: u64,
}

/// What the bank of a customer does with a charge.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bank {
    Pays,
    Declines,
    /// It takes the money, and nobody hears of it.
    PaysAndNeverAnswers,
    NeverAnswers,
}

impl Billing {
    /// One in ten cards is declined, one in twenty banks never answers.
    fn bank(&self, order: u64) -> Bank {
        match dice(self.seed, order) % 100 {
            0..10 => Bank::Declines,
            10..13 => Bank::PaysAndNeverAnswers,
            13..15 => Bank::NeverAnswers,
            _ => Bank::Pays,
        }
    }
}

impl Handler<ChargeCard> for Billing {
    async fn handle(&self, charge: ChargeCard, ctx: &mut Context) -> HandlerResult {
        let bank = self.bank(charge.order);
        let charged = self.ledger.note(ctx.idempotency_key(), charge.order, |so_far| {
            // The saga gave up before this charge came: nothing may be taken any more.
            if so_far.iter().any(|entry| entry.what == What::Refunded) {
                return (What::Declined, 0);
            }
            match bank {
                Bank::Pays | Bank::PaysAndNeverAnswers => (What::Charged, charge.cents),
                Bank::Declines => (What::Declined, 0),
                Bank::NeverAnswers => (What::Asked, 0),
            }
        });
        match (charged.await?.what, bank) {
            (What::Charged, Bank::Pays) => {
                ctx.reply(CardCharged {});
            }
            (What::Declined, _) => {
                ctx.reply(CardDeclined {});
            }
            _ => {} // silence
        }
        Ok(())
    }
}

impl Handler<RefundCard> for Billing {
    async fn handle(&self, refund: RefundCard, ctx: &mut Context) -> HandlerResult {
        let refunded = self.ledger.note(ctx.idempotency_key(), refund.order, |so_far| {
            let sum = |what| {
                so_far
                    .iter()
                    .filter(|entry| entry.what == what)
                    .map(|entry| entry.cents)
                    .sum::<u64>()
            };
            (
                What::Refunded,
                sum(What::Charged).saturating_sub(sum(What::Refunded)),
            )
        });
        refunded.await?;
        ctx.reply(CardRefunded {});
        Ok(())
    }
}

/// Keeps track of how orders ended.
#[derive(Clone)]
pub(crate) struct Office(pub(crate) Arc<Ledger>);

impl Handler<OrderCompleted> for Office {
    async fn handle(&self, completed: OrderCompleted, ctx: &mut Context) -> HandlerResult {
        self.0
            .note(ctx.idempotency_key(), completed.order, |_| (What::Completed, 0))
            .await?;
        Ok(())
    }
}

impl Handler<OrderCancelled> for Office {
    async fn handle(&self, cancelled: OrderCancelled, ctx: &mut Context) -> HandlerResult {
        let what = if cancelled.answered {
            What::CancelledDeclined
        } else {
            What::CancelledUnanswered
        };
        self.0
            .note(ctx.idempotency_key(), cancelled.order, |_| (what, 0))
            .await?;
        Ok(())
    }
}

/// What an order costs: 5.00 to 199.99.
pub(crate) fn price(seed: u64, order: u64) -> u64 {
    500 + dice(seed, order) / 100 % 19_500
}

/// The same number for the same order of the same run, whenever it is asked for.
fn dice(seed: u64, order: u64) -> u64 {
    SeededRandomness::new(SeededRandomness::new(seed).next_u64() ^ order).next_u64()
}
