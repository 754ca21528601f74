//! Accounts: keeps the outcomes of orders and the money earned, in the store, in ways that are not idempotent.

use std::borrow::Cow;

use longhaul::handler::Received;
use longhaul::message::MessageKind;
use longhaul::prelude::*;
use longhaul::stateful::{Accepts, Effects, StatefulHandler, Taken, Work};
use longhaul::store::RecordKey;
use serde::{Deserialize, Serialize};

use crate::kill::folder::Folder;
use crate::kill::ledger::Notes;
use crate::kill::messages::{OrderCancelled, OrderCompleted};
use crate::kill::records;

/// How many accounts there are: orders that share one are handled one after the other.
pub(crate) const ACCOUNTS: u64 = 64;

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    Completed { cents: u64, told: (u32, u32) },
    Cancelled,
}

/// What one account holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) cents: u64,
    pub(crate) entries: u64,
}

/// Adds each ending to the list of its order, and the money to an account: what is handled twice is there twice.
pub(crate) struct Books;

impl StatefulHandler for Books {
    fn name(&self) -> &'static str {
        "books"
    }

    fn accepts(&self) -> Vec<Accepts> {
        let event = |name| Accepts {
            type_name: Cow::Borrowed(name),
            kind: MessageKind::Event,
        };
        vec![event(OrderCompleted::NAME), event(OrderCancelled::NAME)]
    }

    fn keys(&self, received: &Received) -> HandlerResult<Vec<RecordKey>> {
        let (order, _) = ending(received)?;
        Ok(vec![
            records::key(records::OUTCOMES, order),
            records::key(records::ACCOUNTS, order % ACCOUNTS),
        ])
    }

    fn handle(&self, received: &Received, work: Work<'_>) -> HandlerResult<Effects> {
        let (order, ending) = ending(received)?;
        let (of_order, of_account) = (work.records.first(), work.records.get(1));
        let mut endings: Vec<Ending> = records::read(of_order)?;
        let mut account: Account = records::read(of_account)?;
        account.entries += 1;
        if let Ending::Completed { cents, .. } = ending {
            account.cents += cents;
        }
        endings.push(ending);
        let changes = vec![
            records::put(&records::key(records::OUTCOMES, order), of_order, &endings)?,
            records::put(
                &records::key(records::ACCOUNTS, order % ACCOUNTS),
                of_account,
                &account,
            )?,
        ];
        Ok(Effects {
            outbound: work.outbound,
            records: changes,
            pending: Vec::new(),
            taken: Taken::Handled,
            became: Vec::new(),
        })
    }
}

fn ending(received: &Received) -> HandlerResult<(u64, Ending)> {
    if received.type_name == OrderCompleted::NAME {
        let OrderCompleted { order, cents, told } = received.decode()?;
        return Ok((order, Ending::Completed { cents, told }));
    }
    let OrderCancelled { order } = received.decode()?;
    Ok((order, Ending::Cancelled))
}

/// Notes each outcome in a file, so that others see how far the run is.
pub(crate) struct Progress(Notes);

/// The length of one line in that file.
pub(crate) const OUTCOME_BYTES: u64 = 11;

impl Progress {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        folder.notes(&folder.outcomes()).map(Self)
    }
}

impl Handler<OrderCompleted> for Progress {
    async fn handle(&self, completed: OrderCompleted, _: &mut Context) -> HandlerResult {
        Ok(self.0.write(&format!("{:010}", completed.order))?)
    }
}

impl Handler<OrderCancelled> for Progress {
    async fn handle(&self, cancelled: OrderCancelled, _: &mut Context) -> HandlerResult {
        Ok(self.0.write(&format!("{:010}", cancelled.order))?)
    }
}
