use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard {
    cents: u64,
}

struct CardGateway;

impl Handler<ChargeCard> for CardGateway {
    fn handle(&self, _charge: ChargeCard, _ctx: &mut Context) -> HandlerResult {
        Ok(())
    }
}

fn main() {}
