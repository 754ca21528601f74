//! The warehouse: a storeless endpoint on Amazon SQS. Any number of processes share its queue.

mod connection;
#[path = "messages/warehouse.rs"]
pub(crate) mod messages;

use longhaul::prelude::*;

use self::messages::{ItemReserved, ItemSoldOut, ReserveItem};

#[tokio::main]
async fn main() -> Result<(), longhaul::Error> {
    connection::write_logs();
    Endpoint::builder("warehouse")
        .transport(connection::connect().await?)
        .idempotent_handler::<ReserveItem>(Warehouse)
        .run_until(longhaul::stop_signal())
        .await
}

pub(crate) struct Warehouse;

impl Handler<ReserveItem> for Warehouse {
    /// Asked twice, it says the same twice, under the same message id: the saga hears it once.
    async fn handle(&self, reserve: ReserveItem, ctx: &mut Context) -> HandlerResult {
        if reserve.item == "unicorn" {
            ctx.reply(ItemSoldOut {});
        } else {
            ctx.reply(ItemReserved {});
        }
        Ok(())
    }
}
