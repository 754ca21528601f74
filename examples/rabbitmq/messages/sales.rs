//! The messages of sales.

use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

/// A customer wants something.
#[derive(Command, Serialize, Deserialize)]
#[message("sales.place_order.v1")]
pub(crate) struct PlaceOrder {
    pub(crate) order: String,
    pub(crate) item: String,
    pub(crate) card: String,
    pub(crate) cents: u64,
}

/// Paid and shipped.
#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_completed.v1")]
pub(crate) struct OrderCompleted {
    pub(crate) order: String,
    pub(crate) cents: u64,
}

/// Nothing is shipped, and the customer has the money.
#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_cancelled.v1")]
pub(crate) struct OrderCancelled {
    pub(crate) order: String,
}
