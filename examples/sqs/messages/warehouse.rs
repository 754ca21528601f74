//! The messages of the warehouse.

use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

/// Lay one aside.
#[derive(Command, Serialize, Deserialize)]
#[message("warehouse.reserve_item.v1")]
pub(crate) struct ReserveItem {
    pub(crate) item: String,
}

/// The answer: done.
#[derive(Message, Serialize, Deserialize)]
#[message("warehouse.item_reserved.v1")]
pub(crate) struct ItemReserved {}

/// The answer: there is none left.
#[derive(Message, Serialize, Deserialize)]
#[message("warehouse.item_sold_out.v1")]
pub(crate) struct ItemSoldOut {}
