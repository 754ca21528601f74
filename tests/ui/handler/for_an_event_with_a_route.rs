use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced {
    order: u64,
}

fn main() {
    let _endpoint = Endpoint::builder("sales").route::<OrderPlaced>("billing");
}
