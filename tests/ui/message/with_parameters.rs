use longhaul::{Command, Event, Message};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced<Id> {
    order: Id,
}

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard<'a> {
    card: &'a str,
}

#[derive(Message, Serialize, Deserialize)]
#[message("billing.card_charged.v1")]
struct CardCharged<const DIGITS: u8> {
    cents: u64,
}

fn main() {}
