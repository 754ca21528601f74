use std::rc::Rc;

use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard {
    cents: u64,
}

struct CardGateway;

impl Handler<ChargeCard> for CardGateway {
    async fn handle(&self, charge: ChargeCard, _ctx: &mut Context) -> HandlerResult {
        let cents = Rc::new(charge.cents);
        std::future::ready(()).await;
        drop(cents);
        Ok(())
    }
}

fn main() {}
