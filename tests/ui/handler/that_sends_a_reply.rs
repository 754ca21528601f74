use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, Serialize, Deserialize)]
#[message("billing.card_charged.v1")]
struct CardCharged {
    cents: u64,
}

fn send(ctx: &mut Context) {
    ctx.send(CardCharged { cents: 1 });
}

fn main() {}
