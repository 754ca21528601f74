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

impl Saga for OrderSaga {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order, Self::start);
    }
}

impl OrderSaga {
    async fn start(placed: OrderPlaced, _ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        Ok(Self { order: placed.order })
    }
}

fn main() {}
