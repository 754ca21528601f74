//! The messages of billing.

use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

/// Take the money.
#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
pub(crate) struct ChargeCard {
    pub(crate) order: String,
    pub(crate) card: String,
    pub(crate) cents: u64,
}

/// The answer: taken.
#[derive(Message, Serialize, Deserialize)]
#[message("billing.card_charged.v1")]
pub(crate) struct CardCharged {
    pub(crate) receipt: String,
}

/// The answer: the bank says no.
#[derive(Message, Serialize, Deserialize)]
#[message("billing.card_refused.v1")]
pub(crate) struct CardRefused {}

/// Give the money back: undoes [`ChargeCard`].
#[derive(Command, Serialize, Deserialize)]
#[message("billing.refund_card.v1")]
pub(crate) struct RefundCard {
    pub(crate) order: String,
    pub(crate) cents: u64,
}

/// The answer: given back.
#[derive(Message, Serialize, Deserialize)]
#[message("billing.card_refunded.v1")]
pub(crate) struct CardRefunded {
    pub(crate) receipt: String,
}
