use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced {
    order: u64,
}

#[derive(Serialize, Deserialize)]
struct OrderSaga {
    order: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard {
    order: u64,
}

fn publish(ctx: &mut SagaContext<OrderSaga>) {
    ctx.publish(ChargeCard { order: 1 });
}

impl Saga for OrderSaga {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(_saga: &mut Definition<Self>) {}
}

fn main() {}
