//! Shipping: an endpoint with a handler and a store. The store remembers which messages were handled.

mod connection;
#[path = "messages/shipping.rs"]
pub(crate) mod messages;

use std::path::PathBuf;

use clap::Parser;
use longhaul::prelude::*;
use longhaul::sled::Sled;

use self::messages::{OrderShipped, OutOfStock, ShipOrder};

/// Runs the shipping endpoint until it is asked to stop.
#[derive(Parser)]
struct Options {
    /// Where the state lies
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
}

#[tokio::main]
async fn main() -> Result<(), longhaul::Error> {
    let options = Options::parse();
    connection::write_logs();
    Endpoint::builder("shipping")
        .transport(connection::connect("shipping").await?)
        .persistence(Sled::open(options.data)?)
        .handler::<ShipOrder>(Shipping)
        .run_until(longhaul::stop_signal())
        .await
}

pub(crate) struct Shipping;

impl Handler<ShipOrder> for Shipping {
    async fn handle(&self, ship: ShipOrder, ctx: &mut Context) -> HandlerResult {
        if ship.item == "unicorn" {
            ctx.reply(OutOfStock {});
        } else {
            ctx.reply(OrderShipped {
                parcel: format!("{} for {}", ship.item, ship.order),
            });
        }
        Ok(())
    }
}
