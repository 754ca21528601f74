use longhaul::{Command, Event};
use serde::{Deserialize, Serialize};

#[derive(Command, Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced {
    order: u64,
}

fn main() {}
