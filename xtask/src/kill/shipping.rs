//! Shipping: a handler that calls a carrier, and beside it a list in the store that is not idempotent at all.

use std::borrow::Cow;
use std::time::Duration;

use longhaul::handler::Received;
use longhaul::message::MessageKind;
use longhaul::prelude::*;
use longhaul::stateful::{Accepts, Effects, StatefulHandler, Taken, Work};
use longhaul::store::RecordKey;

use crate::kill::folder::Folder;
use crate::kill::ledger::{Deed, Entry, Notes, ThirdParty};
use crate::kill::messages::{OrderShipped, OutOfStock, ParcelRecalled, RecallParcel, ShipOrder};
use crate::kill::orders::{self, Kind};
use crate::kill::records;

/// How long shipping takes to answer for slow orders: longer than their customers wait.
const SLOW: Duration = Duration::from_secs(3);

pub(crate) struct Shipping {
    carrier: ThirdParty,
    executions: Notes,
}

impl Shipping {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self {
            carrier: folder.third_party()?,
            executions: folder.notes(&folder.executions())?,
        })
    }
}

impl Handler<ShipOrder> for Shipping {
    async fn handle(&self, ship: ShipOrder, ctx: &mut Context) -> HandlerResult {
        let order = ship.order;
        self.executions.write(&format!("ship {order}"))?;
        let kind = orders::kind(order);
        if kind == Kind::OutOfStock {
            ctx.reply(OutOfStock { order });
            return Ok(());
        }
        self.carrier.once(
            &ctx.idempotency_key(),
            &Entry {
                deed: Deed::Parcel,
                order,
                cents: 0,
            },
        )?;
        let reply = ctx.reply(OrderShipped { order });
        if kind == Kind::Slow {
            reply.after(SLOW);
        }
        Ok(())
    }
}

impl Handler<RecallParcel> for Shipping {
    async fn handle(&self, recall: RecallParcel, ctx: &mut Context) -> HandlerResult {
        let order = recall.order;
        self.executions.write(&format!("recall {order}"))?;
        self.carrier.once(
            &ctx.idempotency_key(),
            &Entry {
                deed: Deed::Recall,
                order,
                cents: 0,
            },
        )?;
        ctx.reply(ParcelRecalled { order });
        Ok(())
    }
}

/// Adds each message that it handles to the list of its order: a message handled twice is there twice.
pub(crate) struct Desk;

impl StatefulHandler for Desk {
    fn name(&self) -> &'static str {
        "desk"
    }

    fn accepts(&self) -> Vec<Accepts> {
        let command = |name| Accepts {
            type_name: Cow::Borrowed(name),
            kind: MessageKind::Command,
        };
        vec![command(ShipOrder::NAME), command(RecallParcel::NAME)]
    }

    fn keys(&self, received: &Received) -> HandlerResult<Vec<RecordKey>> {
        let order = match received.type_name.as_str() {
            ShipOrder::NAME => received.decode::<ShipOrder>()?.order,
            _ => received.decode::<RecallParcel>()?.order,
        };
        Ok(vec![records::key(records::DESK, order)])
    }

    fn handle(&self, received: &Received, work: Work<'_>) -> HandlerResult<Effects> {
        let mut list: Vec<String> = records::read(work.records.first())?;
        list.push(received.type_name.clone());
        let change = records::put(&self.keys(received)?[0], work.records.first(), &list)?;
        Ok(Effects {
            outbound: work.outbound,
            records: vec![change],
            pending: Vec::new(),
            taken: Taken::Handled,
            became: Vec::new(),
        })
    }
}
