//! What the endpoints say to each other.

use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

/// To sales: a customer wants something.
#[derive(Command, Serialize, Deserialize)]
#[message("sales.place_order.v1")]
pub(crate) struct PlaceOrder {
    pub(crate) order: u64,
    pub(crate) cents: u64,
}

/// To the warehouse: put the goods aside.
#[derive(Command, Serialize, Deserialize)]
#[message("warehouse.reserve_stock.v1")]
pub(crate) struct ReserveStock {
    pub(crate) order: u64,
}

/// The goods are put aside.
#[derive(Message, Serialize, Deserialize)]
#[message("warehouse.stock_reserved.v1")]
pub(crate) struct StockReserved {}

/// To the warehouse: put the goods back.
#[derive(Command, Serialize, Deserialize)]
#[message("warehouse.release_stock.v1")]
pub(crate) struct ReleaseStock {
    pub(crate) order: u64,
}

/// The goods are back.
#[derive(Message, Serialize, Deserialize)]
#[message("warehouse.stock_released.v1")]
pub(crate) struct StockReleased {}

/// To billing: take the money.
#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
pub(crate) struct ChargeCard {
    pub(crate) order: u64,
    pub(crate) cents: u64,
}

/// The money is there.
#[derive(Message, Serialize, Deserialize)]
#[message("billing.card_charged.v1")]
pub(crate) struct CardCharged {}

/// The bank said no.
#[derive(Message, Serialize, Deserialize)]
#[message("billing.card_declined.v1")]
pub(crate) struct CardDeclined {}

/// To billing: give back what was taken for the order, if anything, and take nothing for it any more.
#[derive(Command, Serialize, Deserialize)]
#[message("billing.refund_card.v1")]
pub(crate) struct RefundCard {
    pub(crate) order: u64,
}

/// Nothing is owed to the customer any more.
#[derive(Message, Serialize, Deserialize)]
#[message("billing.card_refunded.v1")]
pub(crate) struct CardRefunded {}

/// To the warehouse: send the goods.
#[derive(Command, Serialize, Deserialize)]
#[message("warehouse.ship_order.v1")]
pub(crate) struct ShipOrder {
    pub(crate) order: u64,
}

/// The goods are on their way.
#[derive(Message, Serialize, Deserialize)]
#[message("warehouse.order_shipped.v1")]
pub(crate) struct OrderShipped {}

/// An order ended well.
#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_completed.v1")]
pub(crate) struct OrderCompleted {
    pub(crate) order: u64,
}

/// An order was cancelled, and everything done for it is undone.
#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_cancelled.v1")]
pub(crate) struct OrderCancelled {
    pub(crate) order: u64,
    pub(crate) answered: bool,
}
