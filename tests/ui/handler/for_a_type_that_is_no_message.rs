use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct ChargeCard {
    cents: u64,
}

struct CardGateway;

impl Handler<ChargeCard> for CardGateway {
    async fn handle(&self, _charge: ChargeCard, _ctx: &mut Context) -> HandlerResult {
        Ok(())
    }
}

fn main() {}
