use longhaul::{Command, Event, Message};
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[message(".billing.charge_card")]
struct ChargeCard {
    order: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[message("billing.card_charged.")]
struct CardCharged {
    order: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[message("sales..order_placed")]
struct OrderPlaced {
    order: u64,
}

fn main() {}
