use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced {
    order: u64,
}

fn send(ctx: &mut Context) {
    ctx.send(OrderPlaced { order: 1 });
}

fn main() {}
