//! What the endpoints say to each other. Every event carries its own time: it counts when it happened, not when it came.

use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

/// A customer bought something.
#[derive(Event, Serialize, Deserialize)]
#[message("shop.order_placed.v1")]
pub(crate) struct OrderPlaced {
    pub(crate) order: String,
    pub(crate) at: Timestamp,
    /// When it should be there.
    pub(crate) estimated: Timestamp,
    /// For how many seconds after a deadline messages from before it may still be under way.
    pub(crate) patience: u64,
}

/// The customer's bank said yes.
#[derive(Event, Serialize, Deserialize)]
#[message("shop.payment_approved.v1")]
pub(crate) struct PaymentApproved {
    pub(crate) order: String,
    pub(crate) at: Timestamp,
}

/// The carrier has it. Nobody subscribes: an event without subscribers is fine.
#[derive(Event, Serialize, Deserialize)]
#[message("shop.order_shipped.v1")]
pub(crate) struct OrderShipped {
    pub(crate) order: String,
    pub(crate) at: Timestamp,
}

/// The customer has it.
#[derive(Event, Serialize, Deserialize)]
#[message("shop.order_delivered.v1")]
pub(crate) struct OrderDelivered {
    pub(crate) order: String,
    pub(crate) at: Timestamp,
}

/// Put the goods aside.
#[derive(Command, Serialize, Deserialize)]
#[message("warehouse.reserve_stock.v1")]
pub(crate) struct ReserveStock {
    pub(crate) order: String,
}

/// Put the goods back: undoes [`ReserveStock`].
#[derive(Command, Serialize, Deserialize)]
#[message("warehouse.release_stock.v1")]
pub(crate) struct ReleaseStock {
    pub(crate) order: String,
}

/// Give the money back.
#[derive(Command, Serialize, Deserialize)]
#[message("billing.refund_payment.v1")]
pub(crate) struct RefundPayment {
    pub(crate) order: String,
}

/// Say sorry for being late.
#[derive(Command, Serialize, Deserialize)]
#[message("care.send_voucher.v1")]
pub(crate) struct SendVoucher {
    pub(crate) order: String,
}

/// The order is done with.
#[derive(Event, Serialize, Deserialize)]
#[message("marketplace.order_completed.v1")]
pub(crate) struct OrderCompleted {
    pub(crate) order: String,
    pub(crate) in_time: bool,
}
