use longhaul::Command;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge card")]
struct ChargeCard {
    order: u64,
}

fn main() {}
