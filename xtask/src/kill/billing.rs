//! Billing: storeless, any number of processes. It passes on idempotency keys, so that running twice does no harm.

use longhaul::prelude::*;

use crate::kill::folder::Folder;
use crate::kill::ledger::{Deed, Entry, Notes, ThirdParty};
use crate::kill::messages::{CardCharged, CardRefunded, CardRefused, ChargeCard, RefundCard};
use crate::kill::orders::{self, Kind};

pub(crate) struct Billing {
    bank: ThirdParty,
    executions: Notes,
}

impl Billing {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self {
            bank: folder.third_party()?,
            executions: folder.notes(&folder.executions())?,
        })
    }
}

impl Handler<ChargeCard> for Billing {
    async fn handle(&self, charge: ChargeCard, ctx: &mut Context) -> HandlerResult {
        let ChargeCard { order, cents } = charge;
        self.executions.write(&format!("charge {order}"))?;
        if orders::kind(order) == Kind::CardRefused {
            ctx.reply(CardRefused { order });
            return Ok(());
        }
        self.bank.once(
            &ctx.idempotency_key(),
            &Entry {
                deed: Deed::Charge,
                order,
                cents,
            },
        )?;
        ctx.reply(CardCharged { order });
        Ok(())
    }
}

impl Handler<RefundCard> for Billing {
    async fn handle(&self, refund: RefundCard, ctx: &mut Context) -> HandlerResult {
        let RefundCard { order, cents } = refund;
        self.executions.write(&format!("refund {order}"))?;
        self.bank.once(
            &ctx.idempotency_key(),
            &Entry {
                deed: Deed::Refund,
                order,
                cents,
            },
        )?;
        ctx.reply(CardRefunded { order });
        Ok(())
    }
}
