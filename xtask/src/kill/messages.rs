//! The messages of the shop whose processes are killed.

use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[message("xtask.kill.place_order.v1")]
pub(crate) struct PlaceOrder {
    pub(crate) order: u64,
    pub(crate) cents: u64,
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[message("xtask.kill.charge_card.v1")]
pub(crate) struct ChargeCard {
    pub(crate) order: u64,
    pub(crate) cents: u64,
}

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message("xtask.kill.card_charged.v1")]
pub(crate) struct CardCharged {
    pub(crate) order: u64,
}

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message("xtask.kill.card_refused.v1")]
pub(crate) struct CardRefused {
    pub(crate) order: u64,
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[message("xtask.kill.refund_card.v1")]
pub(crate) struct RefundCard {
    pub(crate) order: u64,
    pub(crate) cents: u64,
}

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message("xtask.kill.card_refunded.v1")]
pub(crate) struct CardRefunded {
    pub(crate) order: u64,
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[message("xtask.kill.ship_order.v1")]
pub(crate) struct ShipOrder {
    pub(crate) order: u64,
}

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message("xtask.kill.order_shipped.v1")]
pub(crate) struct OrderShipped {
    pub(crate) order: u64,
}

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message("xtask.kill.out_of_stock.v1")]
pub(crate) struct OutOfStock {
    pub(crate) order: u64,
}

#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[message("xtask.kill.recall_parcel.v1")]
pub(crate) struct RecallParcel {
    pub(crate) order: u64,
}

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message("xtask.kill.parcel_recalled.v1")]
pub(crate) struct ParcelRecalled {
    pub(crate) order: u64,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[message("xtask.kill.order_completed.v1")]
pub(crate) struct OrderCompleted {
    pub(crate) order: u64,
    pub(crate) cents: u64,
    /// How often the saga was told that the card is charged, and the parcel on its way.
    pub(crate) told: (u32, u32),
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[message("xtask.kill.order_cancelled.v1")]
pub(crate) struct OrderCancelled {
    pub(crate) order: u64,
}
