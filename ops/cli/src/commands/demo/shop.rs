//! The endpoint of the demonstration: a saga that takes orders, and a handler that charges cards at a bank that may be closed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::admin::QueueAdmin;
use longhaul_core::clock::{SystemClock, within};
use longhaul_core::endpoint::Endpoint;
use longhaul_core::handler::{Context, Handler, HandlerError, HandlerResult};
use longhaul_core::{Command, Message};
use longhaul_embedded::Database;
use longhaul_local::LocalBroker;
use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext, SagaEndpoint};
use longhaul_sled::Sled;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The endpoint, and its queue.
pub(super) const SHOP: &str = "shop";
/// Orders whose card can't be charged while the bank is closed.
const AT_THE_BANK: [u64; 3] = [2, 3, 5];
/// All orders.
pub(super) const ORDERS: u64 = 6;
/// How long a life of the endpoint may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Command, Serialize, Deserialize)]
#[message("shop.place_order.v1")]
struct PlaceOrder {
    order: u64,
    cents: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("shop.charge_card.v1")]
struct ChargeCard {
    order: u64,
    cents: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[message("shop.card_charged.v1")]
struct CardCharged {}

/// Charges an order, and is complete once that is done.
#[derive(Serialize, Deserialize)]
struct Order {
    cents: u64,
}

impl Saga for Order {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &PlaceOrder| m.order, Self::start);
        saga.on_reply(Self::on_card_charged);
    }
}

impl Order {
    fn start(placed: PlaceOrder, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        ctx.send(ChargeCard {
            order: placed.order,
            cents: placed.cents,
        });
        Ok(Self { cents: placed.cents })
    }

    fn on_card_charged(&mut self, _: CardCharged, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.complete();
        Ok(())
    }
}

/// Whether the bank answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bank {
    Closed,
    Open,
}

impl Handler<ChargeCard> for Bank {
    async fn handle(&self, charge: ChargeCard, ctx: &mut Context) -> HandlerResult {
        if *self == Self::Closed && AT_THE_BANK.contains(&charge.order) {
            return Err(HandlerError::permanent(format!(
                "charge {} cents for order {}: the bank is closed",
                charge.cents, charge.order
            )));
        }
        ctx.reply(CardCharged {});
        Ok(())
    }
}

/// One life of the endpoint on a broker and a store in this directory, until nothing is left to do. Returns the id of the first message
/// that failed.
pub(super) async fn live(directory: &Path, bank: Bank) -> Result<Option<String>, Failure> {
    let database = Database::open(directory).map_err(Failure::failed)?;
    let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock))?;
    let endpoint = Endpoint::builder(SHOP)
        .transport(broker.clone())
        .persistence(Sled::on(database.clone()))
        .saga::<Order>()
        .handler::<ChargeCard>(bank)
        .route::<PlaceOrder>(SHOP)
        .route::<ChargeCard>(SHOP)
        .build()
        .await
        .map_err(Failure::failed)?;
    let failing = u64::try_from(AT_THE_BANK.len()).unwrap_or_default();
    let (handled, moved) = match bank {
        Bank::Closed => {
            let session = endpoint.session();
            for order in 1..=ORDERS {
                let cents = 1_000 * order;
                let placed = session.send(PlaceOrder { order, cents });
                placed.await.map_err(Failure::failed)?;
            }
            // The order, its charge and the answer; of those that fail the order only.
            (3 * ORDERS - 2 * failing, failing)
        }
        Bank::Open => (2 * failing, 0),
    };
    let monitor = endpoint.monitor();
    let until_done = async move {
        loop {
            let stats = monitor.stats();
            if stats.handled >= handled && stats.moved_to_errors >= moved {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let ran = within(&SystemClock, LIMIT, endpoint.run_until(until_done)).await;
    ran.ok_or_else(|| Failure::failed("run the endpoint: it took too long"))?
        .map_err(Failure::failed)?;
    let failed = first_failed(&broker).await?;
    drop(broker);
    database.close().map_err(Failure::failed)?;
    Ok(failed)
}

async fn first_failed(broker: &LocalBroker) -> Result<Option<String>, Failure> {
    let errors = Address::new("error").map_err(Failure::failed)?;
    let mut pass = broker.look_through(&errors).await?;
    let first = pass.next(1).await?;
    pass.close().await?;
    let id = first.into_iter().next().and_then(|found| found.incoming.id);
    Ok(id.and_then(|id| String::from_utf8(id).ok()))
}
