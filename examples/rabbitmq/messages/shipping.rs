//! The messages of shipping.

use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

/// Send it.
#[derive(Command, Serialize, Deserialize)]
#[message("shipping.ship_order.v1")]
pub(crate) struct ShipOrder {
    pub(crate) order: String,
    pub(crate) item: String,
}

/// The answer: on its way.
#[derive(Message, Serialize, Deserialize)]
#[message("shipping.order_shipped.v1")]
pub(crate) struct OrderShipped {
    pub(crate) parcel: String,
}

/// The answer: there is none left.
#[derive(Message, Serialize, Deserialize)]
#[message("shipping.out_of_stock.v1")]
pub(crate) struct OutOfStock {}
