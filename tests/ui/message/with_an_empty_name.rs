use longhaul::Event;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[message("")]
struct OrderPlaced {
    order: u64,
}

fn main() {}
