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
    type Id = f64;
    type Timeout = NoTimeout;

    fn define(_saga: &mut Definition<Self>) {}
}

fn main() {}
