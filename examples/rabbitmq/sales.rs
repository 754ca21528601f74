//! Sales: an endpoint with a saga. Its state lies in the folder that `--data` names; one process uses it at a time.
//!
//! The saga says what belongs to an order, and what undoes it. It knows neither the broker nor the database.

mod connection;
pub(crate) mod messages;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use longhaul::prelude::*;
use longhaul::sagas::{Definition, Saga, SagaContext, SagaEndpoint};
use longhaul::sled::Sled;
use serde::{Deserialize, Serialize};

use self::messages::billing::{CardCharged, CardRefunded, CardRefused, ChargeCard, RefundCard};
use self::messages::sales::{OrderCancelled, OrderCompleted, PlaceOrder};
use self::messages::shipping::{OrderShipped, OutOfStock, ShipOrder};

/// Runs the sales endpoint until it is asked to stop.
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
    Endpoint::builder("sales")
        .transport(connection::connect("sales").await?)
        .persistence(Sled::open(options.data)?)
        .saga::<OrderSaga>()
        .route::<ChargeCard>("billing")
        .route::<RefundCard>("billing")
        .route::<ShipOrder>("shipping")
        .run_until(longhaul::stop_signal())
        .await
}

/// How long the bank may take.
const PAYMENT_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Ships an order once it is paid. Gives the money back if it can't be shipped.
#[derive(Serialize, Deserialize)]
pub(crate) struct OrderSaga {
    order: String,
    item: String,
    cents: u64,
    is_paid: bool,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Deadline {
    Payment,
}

impl Saga for OrderSaga {
    const NAME: &'static str = "order";
    type Id = String;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &PlaceOrder| m.order.clone(), Self::start);
        saga.on_reply(Self::on_charged);
        saga.on_reply(Self::on_refused);
        saga.on_reply(Self::on_shipped);
        saga.on_reply(Self::on_out_of_stock);
        saga.expects::<CardRefunded>();
        saga.times_out(Self::on_deadline);
        saga.compensated(Self::on_compensated);
    }
}

impl OrderSaga {
    fn start(placed: PlaceOrder, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let PlaceOrder {
            order,
            item,
            card,
            cents,
        } = placed;
        ctx.send(ChargeCard {
            order: order.clone(),
            card,
            cents,
        })
        .undo_with(RefundCard {
            order: order.clone(),
            cents,
        })
        .done_by::<CardCharged>()
        .undone_by::<CardRefunded>();
        ctx.request_timeout(PAYMENT_LIMIT, Deadline::Payment);
        Ok(Self {
            order,
            item,
            cents,
            is_paid: false,
        })
    }

    fn on_charged(&mut self, _: CardCharged, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.is_paid = true;
        ctx.send(ShipOrder {
            order: self.order.clone(),
            item: self.item.clone(),
        });
        Ok(())
    }

    fn on_refused(&mut self, _: CardRefused, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.compensate("the card was refused");
        Ok(())
    }

    fn on_shipped(&mut self, _: OrderShipped, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.publish(OrderCompleted {
            order: self.order.clone(),
            cents: self.cents,
        });
        ctx.complete();
        Ok(())
    }

    fn on_out_of_stock(&mut self, _: OutOfStock, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.compensate("out of stock");
        Ok(())
    }

    #[expect(clippy::needless_pass_by_value, reason = "the shape of a saga's function")]
    fn on_deadline(&mut self, deadline: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match deadline {
            Deadline::Payment if !self.is_paid => ctx.compensate("not paid within a day"),
            Deadline::Payment => {}
        }
        Ok(())
    }

    fn on_compensated(&mut self, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.publish(OrderCancelled {
            order: self.order.clone(),
        });
        Ok(())
    }
}
