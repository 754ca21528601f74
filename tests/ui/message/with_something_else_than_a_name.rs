use longhaul::{Command, Event, Message};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[message = "sales.order_placed.v1"]
struct OrderPlaced {
    order: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message(billing)]
struct ChargeCard {
    order: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[message("billing.card_charged.v1", strict)]
struct CardCharged {
    order: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[message]
struct CardRefused {
    order: u64,
}

fn main() {}
