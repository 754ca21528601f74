//! The messages of orders.

use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

/// A customer wants something.
#[derive(Command, Serialize, Deserialize)]
#[message("orders.place_order.v1")]
pub(crate) struct PlaceOrder {
    pub(crate) order: String,
    pub(crate) item: String,
}

/// The item is reserved.
#[derive(Event, Serialize, Deserialize)]
#[message("orders.order_confirmed.v1")]
pub(crate) struct OrderConfirmed {
    pub(crate) order: String,
}

/// There is none left.
#[derive(Event, Serialize, Deserialize)]
#[message("orders.order_rejected.v1")]
pub(crate) struct OrderRejected {
    pub(crate) order: String,
}
