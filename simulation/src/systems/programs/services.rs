//! What programs call: counters in sagas, and a till that keeps nothing itself.

use std::time::Duration;

use longhaul_core::handler::{Context, Handler, HandlerError, HandlerResult};
use longhaul_core::{Command, Message};
use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext};
use serde::{Deserialize, Serialize};

use super::{Answer, Call, Undo};
use crate::outside::Outside;

/// A counter is to be raised.
#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.add.v1")]
pub(super) struct Add {
    pub(super) counter: u8,
    pub(super) program: u64,
    pub(super) call: Call,
}

/// What was added is to be taken off again.
#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.subtract.v1")]
pub(super) struct Subtract {
    pub(super) counter: u8,
    pub(super) program: u64,
    pub(super) call: Call,
}

/// Money is to be taken.
#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.pay_in.v1")]
pub(super) struct PayIn {
    pub(super) program: u64,
    pub(super) call: Call,
}

/// Money is to be given back.
#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.pay_out.v1")]
pub(super) struct PayOut {
    pub(super) program: u64,
    pub(super) call: Call,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message("sim.call_done.v1")]
pub(super) struct Done {
    pub(super) number: u8,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message("sim.call_refused.v1")]
pub(super) struct Refused {
    pub(super) number: u8,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message("sim.call_undone.v1")]
pub(super) struct Undone {}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message("sim.undo_refused.v1")]
pub(super) struct UndoRefused {}

/// What a callee did: for which program, the number of the call, and by how much it changed.
pub(super) type Entry = (u64, u8, i64);

/// A number, and everything that was ever done to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counter {
    pub(super) value: i64,
    pub(super) entries: Vec<Entry>,
    /// Undos that were refused once.
    refused: Vec<(u64, u8)>,
}

impl Counter {
    #[cfg(test)]
    pub(super) const fn of(value: i64, entries: Vec<Entry>) -> Self {
        Self {
            value,
            entries,
            refused: Vec::new(),
        }
    }

    fn begin(add: Add, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let mut counter = Self::default();
        counter.on_add(add, ctx)?;
        Ok(counter)
    }

    fn on_add(&mut self, add: Add, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let number = add.call.number;
        let answer = if add.call.answer == Answer::Done {
            self.change(add.program, number, add.call.amount);
            ctx.reply(Done { number })
        } else {
            ctx.reply(Refused { number })
        };
        if add.call.slow > 0 {
            answer.after(Duration::from_secs(u64::from(add.call.slow)));
        }
        Ok(())
    }

    fn on_subtract(&mut self, subtract: Subtract, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let call = (subtract.program, subtract.call.number);
        if subtract.call.undo == Undo::Twice && !self.refused.contains(&call) {
            self.refused.push(call);
            ctx.reply(UndoRefused {});
            return Ok(());
        }
        self.change(subtract.program, subtract.call.number, -subtract.call.amount);
        ctx.reply(Undone {});
        Ok(())
    }

    fn change(&mut self, program: u64, number: u8, amount: i64) {
        self.value += amount;
        self.entries.push((program, number, amount));
    }
}

impl Saga for Counter {
    const NAME: &'static str = "sim-counter";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &Add| u64::from(m.counter), Self::begin);
        saga.handles(|m: &Add| u64::from(m.counter), Self::on_add);
        saga.handles(|m: &Subtract| u64::from(m.counter), Self::on_subtract);
    }
}

/// Takes and gives money at a third party that honours idempotency keys.
pub(super) struct Till(pub(super) Outside);

impl Handler<PayIn> for Till {
    async fn handle(&self, pay: PayIn, ctx: &mut Context) -> HandlerResult {
        let number = pay.call.number;
        if pay.call.slow > 0 {
            self.0.wait(Duration::from_secs(u64::from(pay.call.slow))).await;
        }
        if pay.call.answer != Answer::Done {
            ctx.reply(Refused { number });
            return Ok(());
        }
        let about = about(pay.program, number);
        let paid = self
            .0
            .once("pay in", &about, pay.call.amount, ctx.idempotency_key());
        paid.await.map_err(HandlerError::transient)?;
        ctx.reply(Done { number });
        Ok(())
    }
}

impl Handler<PayOut> for Till {
    async fn handle(&self, pay: PayOut, ctx: &mut Context) -> HandlerResult {
        let about = about(pay.program, pay.call.number);
        let paid = self
            .0
            .once("pay out", &about, -pay.call.amount, ctx.idempotency_key());
        paid.await.map_err(HandlerError::transient)?;
        ctx.reply(Undone {});
        Ok(())
    }
}

/// What a third party knows a call by.
fn about(program: u64, number: u8) -> String {
    format!("{program}/{number}")
}

/// The call that a third party knows by that text.
pub(super) fn read_about(text: &str) -> Option<(u64, u8)> {
    let (program, number) = text.split_once('/')?;
    Some((program.parse().ok()?, number.parse().ok()?))
}
