//! Orders: an endpoint with a saga, on Amazon SQS. Its state lies in the folder that `--data` names; one process uses it
//! at a time.

mod connection;
pub(crate) mod messages;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

use self::messages::orders::{OrderConfirmed, OrderRejected, PlaceOrder};
use self::messages::warehouse::{ItemReserved, ItemSoldOut, ReserveItem};

/// Runs the orders endpoint until it is asked to stop.
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
    Endpoint::builder("orders")
        .transport(connection::connect().await?)
        .persistence(Sled::open(options.data)?)
        .saga::<OrderSaga>()
        .route::<ReserveItem>("warehouse")
        .run_until(longhaul::stop_signal())
        .await
}

/// How long the warehouse may take. SQS keeps messages for 15 minutes at most; the rest of an hour waits in the store.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3600);

/// Confirms an order once its item is reserved.
#[derive(Serialize, Deserialize)]
pub(crate) struct OrderSaga {
    order: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Deadline {
    Warehouse,
}

impl Saga for OrderSaga {
    const NAME: &'static str = "order";
    type Id = String;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &PlaceOrder| m.order.clone(), Self::start);
        saga.on_reply(Self::on_reserved);
        saga.on_reply(Self::on_sold_out);
        saga.times_out(Self::on_deadline);
    }
}

impl OrderSaga {
    fn start(placed: PlaceOrder, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        ctx.send(ReserveItem { item: placed.item });
        ctx.request_timeout(PATIENCE, Deadline::Warehouse);
        Ok(Self { order: placed.order })
    }

    fn on_reserved(&mut self, _: ItemReserved, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.publish(OrderConfirmed {
            order: self.order.clone(),
        });
        ctx.complete();
        Ok(())
    }

    fn on_sold_out(&mut self, _: ItemSoldOut, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.reject(ctx);
        Ok(())
    }

    #[expect(clippy::needless_pass_by_value, reason = "the shape of a saga's function")]
    fn on_deadline(&mut self, deadline: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match deadline {
            Deadline::Warehouse => self.reject(ctx),
        }
        Ok(())
    }

    fn reject(&self, ctx: &mut SagaContext<Self>) {
        ctx.publish(OrderRejected {
            order: self.order.clone(),
        });
        ctx.complete();
    }
}
