//! The order saga that both sides play: start, then charge, reserve and ship, each with its reply: seven messages.

use std::sync::OnceLock;

use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

use crate::report::Stopwatch;

/// Makes a body of about 300 bytes.
pub(crate) fn note() -> String {
    "An order of several things, to be charged, reserved and shipped, with a note as long as a real one would be. "
        .repeat(2)
        + "And a bit more."
}

macro_rules! messages {
    ($($derive:ident $name:ident = $wire:literal),+ $(,)?) => {$(
        #[derive(Debug, $derive, Serialize, Deserialize)]
        #[message($wire)]
        pub(crate) struct $name { pub(crate) order: u64, pub(crate) cents: u64, pub(crate) note: String }
    )+};
}

messages! {
    Command PlaceOrder = "bench.place_order.v1",
    Command Charge = "bench.charge.v1",
    Message Charged = "bench.charged.v1",
    Command Reserve = "bench.reserve.v1",
    Message Reserved = "bench.reserved.v1",
    Command Ship = "bench.ship.v1",
    Message Shipped = "bench.shipped.v1",
}

/// Where completed orders are reported.
pub(crate) static STOPWATCH: OnceLock<Stopwatch> = OnceLock::new();

/// Charges, reserves, ships.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OrderSaga {
    cents: u64,
    note: String,
    step: u8,
}

impl Saga for OrderSaga {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &PlaceOrder| m.order, Self::start);
        saga.handles(|m: &Charged| m.order, Self::on_charged);
        saga.handles(|m: &Reserved| m.order, Self::on_reserved);
        saga.handles(|m: &Shipped| m.order, Self::on_shipped);
    }
}

impl OrderSaga {
    fn start(placed: PlaceOrder, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        ctx.send(Charge {
            order: placed.order,
            cents: placed.cents,
            note: placed.note.clone(),
        });
        Ok(Self {
            cents: placed.cents,
            note: placed.note,
            step: 1,
        })
    }

    #[expect(clippy::needless_pass_by_value, reason = "the shape of a saga's function")]
    fn on_charged(&mut self, charged: Charged, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.step = 2;
        ctx.send(Reserve {
            order: charged.order,
            cents: self.cents,
            note: self.note.clone(),
        });
        Ok(())
    }

    #[expect(clippy::needless_pass_by_value, reason = "the shape of a saga's function")]
    fn on_reserved(&mut self, reserved: Reserved, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.step = 3;
        ctx.send(Ship {
            order: reserved.order,
            cents: self.cents,
            note: self.note.clone(),
        });
        Ok(())
    }

    #[expect(clippy::needless_pass_by_value, reason = "the shape of a saga's function")]
    fn on_shipped(&mut self, shipped: Shipped, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.complete();
        // The last commit is still to come; a measurement may tell what a saga must not.
        if let Some(stopwatch) = STOPWATCH.get() {
            stopwatch.completed(shipped.order);
        }
        Ok(())
    }
}

/// Answers each of the three commands.
#[derive(Debug)]
pub(crate) struct Worker;

impl Handler<Charge> for Worker {
    async fn handle(&self, m: Charge, ctx: &mut Context) -> HandlerResult {
        ctx.reply(Charged {
            order: m.order,
            cents: m.cents,
            note: m.note,
        });
        Ok(())
    }
}

impl Handler<Reserve> for Worker {
    async fn handle(&self, m: Reserve, ctx: &mut Context) -> HandlerResult {
        ctx.reply(Reserved {
            order: m.order,
            cents: m.cents,
            note: m.note,
        });
        Ok(())
    }
}

impl Handler<Ship> for Worker {
    async fn handle(&self, m: Ship, ctx: &mut Context) -> HandlerResult {
        ctx.reply(Shipped {
            order: m.order,
            cents: m.cents,
            note: m.note,
        });
        Ok(())
    }
}
