use std::time::Duration;

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

#[derive(Serialize, Deserialize)]
enum Deadline {
    PaymentOverdue,
}

impl Saga for OrderSaga {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = Deadline;

    fn define(_saga: &mut Definition<Self>) {}
}

fn wait(ctx: &mut SagaContext<OrderSaga>) {
    ctx.request_timeout(Duration::from_secs(60), "payment overdue");
}

fn main() {}
