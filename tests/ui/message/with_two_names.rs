use longhaul::Event;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
#[message("sales.order_placed.v2")]
struct OrderPlaced {
    order: u64,
}

fn main() {}
