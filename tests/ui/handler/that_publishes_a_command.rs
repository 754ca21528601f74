use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard {
    cents: u64,
}

fn publish(ctx: &mut Context) {
    ctx.publish(ChargeCard { cents: 1 });
}

fn main() {}
