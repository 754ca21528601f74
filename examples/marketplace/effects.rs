//! What the endpoints around the saga do, noted in a ledger: the summary is counted there, not taken from the saga.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use longhaul::embedded::{Batch, Check, CommitErrorKind, Database, Scan};
use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

use crate::messages::{OrderCompleted, RefundPayment, ReleaseStock, ReserveStock, SendVoucher};
use crate::summary::Summary;

/// Something that was done for an order, outside of any saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Effect {
    pub(crate) order: String,
    pub(crate) kind: Kind,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    StockReserved,
    StockReleased,
    PaymentRefunded,
    VoucherSent,
    DeliveredInTime,
    DeliveredLate,
}

/// Counts effects. An order that has a voucher and neither arrived nor was cancelled was never delivered.
pub(crate) fn count(effects: &[Effect]) -> Summary {
    let number = |kind| effects.iter().filter(|effect| effect.kind == kind).count() as u64;
    let ended: BTreeSet<&str> = effects
        .iter()
        .filter(|effect| {
            matches!(
                effect.kind,
                Kind::StockReleased | Kind::DeliveredInTime | Kind::DeliveredLate
            )
        })
        .map(|effect| effect.order.as_str())
        .collect();
    let never = effects
        .iter()
        .filter(|effect| effect.kind == Kind::VoucherSent && !ended.contains(effect.order.as_str()));
    Summary {
        orders: number(Kind::StockReserved),
        delivered_in_time: number(Kind::DeliveredInTime),
        delivered_late: number(Kind::DeliveredLate),
        never_delivered: never.count() as u64,
        cancelled_unpaid: number(Kind::StockReleased),
        vouchers: number(Kind::VoucherSent),
        late_payments_refunded: number(Kind::PaymentRefunded),
    }
}

/// Where effects are noted. Clones are the same ledger.
#[derive(Clone)]
pub(crate) enum Ledger {
    /// A plain list: an effect that happens twice is there twice.
    Memory(Arc<Mutex<Vec<Effect>>>),
    /// By idempotency key: a handler whose process ends right after it noted the effect runs again, and notes nothing.
    Disk(Database),
}

const PREFIX: &[u8] = b"marketplace/effect/";

impl Ledger {
    async fn note(&self, kind: Kind, order: String, ctx: &Context) -> HandlerResult {
        let effect = Effect { order, kind };
        match self {
            Self::Memory(list) => {
                list.lock().unwrap_or_else(PoisonError::into_inner).push(effect);
                Ok(())
            }
            Self::Disk(database) => {
                let key = [PREFIX, ctx.idempotency_key().as_bytes()].concat();
                let mut batch = Batch::new();
                batch.check(Check::Absent(key.clone().into()));
                batch.put(key, serde_json::to_vec(&effect)?);
                match database.commit(batch).await {
                    Ok(()) => Ok(()),
                    Err(error) if error.kind() == CommitErrorKind::Conflict => Ok(()),
                    Err(error) => Err(HandlerError::transient(error)),
                }
            }
        }
    }

    /// Everything noted so far.
    pub(crate) fn effects(&self) -> anyhow::Result<Vec<Effect>> {
        let database = match self {
            Self::Memory(list) => return Ok(list.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            Self::Disk(database) => database,
        };
        let mut effects = Vec::new();
        let mut last = Vec::new();
        loop {
            let page = database.scan(&Scan::prefix(PREFIX).after(&last))?;
            let Some((key, _)) = page.last() else {
                return Ok(effects);
            };
            last = key.to_vec();
            for (_, effect) in page {
                effects.push(serde_json::from_slice(&effect)?);
            }
        }
    }
}

/// Keeps the goods.
pub(crate) struct Warehouse(pub(crate) Ledger);

impl Handler<ReserveStock> for Warehouse {
    async fn handle(&self, reserve: ReserveStock, ctx: &mut Context) -> HandlerResult {
        self.0.note(Kind::StockReserved, reserve.order, ctx).await
    }
}

impl Handler<ReleaseStock> for Warehouse {
    async fn handle(&self, release: ReleaseStock, ctx: &mut Context) -> HandlerResult {
        self.0.note(Kind::StockReleased, release.order, ctx).await
    }
}

/// Gives money back.
pub(crate) struct Billing(pub(crate) Ledger);

impl Handler<RefundPayment> for Billing {
    async fn handle(&self, refund: RefundPayment, ctx: &mut Context) -> HandlerResult {
        self.0.note(Kind::PaymentRefunded, refund.order, ctx).await
    }
}

/// Looks after customers.
pub(crate) struct Care(pub(crate) Ledger);

impl Handler<SendVoucher> for Care {
    async fn handle(&self, voucher: SendVoucher, ctx: &mut Context) -> HandlerResult {
        self.0.note(Kind::VoucherSent, voucher.order, ctx).await
    }
}

impl Handler<OrderCompleted> for Care {
    async fn handle(&self, completed: OrderCompleted, ctx: &mut Context) -> HandlerResult {
        let kind = if completed.in_time {
            Kind::DeliveredInTime
        } else {
            Kind::DeliveredLate
        };
        self.0.note(kind, completed.order, ctx).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(of: &[(&str, Kind)]) -> Vec<Effect> {
        let effect = |(order, kind): &(&str, Kind)| Effect {
            order: (*order).to_owned(),
            kind: *kind,
        };
        of.iter().map(effect).collect()
    }

    #[test]
    fn when_a_voucher_is_all_that_an_order_got_it_was_never_delivered() {
        let all = effects(&[
            ("never", Kind::StockReserved),
            ("never", Kind::VoucherSent),
            ("late", Kind::StockReserved),
            ("late", Kind::VoucherSent),
            ("late", Kind::DeliveredLate),
            ("unpaid", Kind::StockReserved),
            ("unpaid", Kind::StockReleased),
            ("unpaid", Kind::PaymentRefunded),
            ("fine", Kind::StockReserved),
            ("fine", Kind::DeliveredInTime),
        ]);
        let summary = Summary {
            orders: 4,
            delivered_in_time: 1,
            delivered_late: 1,
            never_delivered: 1,
            cancelled_unpaid: 1,
            vouchers: 2,
            late_payments_refunded: 1,
        };
        assert_eq!(count(&all), summary);
        assert!(summary.adds_up());
    }

    #[test]
    fn when_an_effect_happened_twice_it_shows() {
        let twice = effects(&[
            ("a", Kind::StockReserved),
            ("a", Kind::DeliveredInTime),
            ("a", Kind::DeliveredInTime),
        ]);
        assert!(!count(&twice).adds_up());
    }
}
