//! An order in three steps: stock in a saga's own records, payment at a third party without a store, and a book-keeper.

mod expected;

use std::time::Duration;

use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::handler::{Context, Handler, HandlerError, HandlerResult};
use longhaul_core::recoverability::RetryPolicy;
use longhaul_core::{Command, Event, Message};
use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext, SagaEndpoint};
use serde::{Deserialize, Serialize};

use self::expected::{archived_once, balanced, ended_once, kept_stock, money, undone_in_reverse};
use crate::effects::Effects;
use crate::outside::Outside;
use crate::simulation::Simulation;
use crate::systems::{patient, persistent};
use crate::workload::Workload;
use crate::world::World;

/// An order is placed.
#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.place_order.v1")]
struct PlaceOrder {
    order: u64,
    cents: i64,
}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.reserve_stock.v1")]
struct ReserveStock {
    order: u64,
}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.release_stock.v1")]
struct ReleaseStock {
    order: u64,
}

/// Nobody handles it.
#[derive(Debug, Clone, Command, Serialize, Deserialize)]
#[message("sim.unwanted.v1")]
struct Unwanted {}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message("sim.stock_reserved.v1")]
struct StockReserved {}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message("sim.stock_released.v1")]
struct StockReleased {}

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("sim.charge_card.v1")]
struct ChargeCard {
    order: u64,
    cents: i64,
}

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("sim.refund_card.v1")]
struct RefundCard {
    order: u64,
    cents: i64,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message("sim.card_charged.v1")]
struct CardCharged {}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message("sim.card_declined.v1")]
struct CardDeclined {}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message("sim.card_refunded.v1")]
struct CardRefunded {}

#[derive(Debug, Clone, Copy, Event, Serialize, Deserialize)]
#[message("sim.order_ended.v1")]
struct OrderEnded {
    order: u64,
    completed: bool,
}

/// Sees an order through.
#[derive(Debug, Serialize, Deserialize)]
struct OrderSaga {
    order: u64,
    cents: i64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Deadline {
    Unpaid,
}

impl Saga for OrderSaga {
    const NAME: &'static str = "sim-order";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.compensation(patient());
        saga.starts_on(|m: &PlaceOrder| m.order, Self::start);
        saga.on_reply(Self::on_reserved);
        saga.on_reply(Self::on_charged);
        saga.on_reply(Self::on_declined);
        saga.expects::<StockReleased>();
        saga.expects::<CardRefunded>();
        saga.times_out(Self::on_deadline);
        saga.compensated(Self::on_compensated);
    }
}

impl OrderSaga {
    fn start(placed: PlaceOrder, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let order = placed.order;
        ctx.send(ReserveStock { order })
            .undo_with(ReleaseStock { order })
            .done_by::<StockReserved>()
            .undone_by::<StockReleased>();
        ctx.request_timeout(Duration::from_secs(600), Deadline::Unpaid);
        Ok(Self {
            order,
            cents: placed.cents,
        })
    }

    fn on_reserved(&mut self, _: StockReserved, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let (order, cents) = (self.order, self.cents);
        ctx.send(ChargeCard { order, cents })
            .undo_with(RefundCard { order, cents })
            .done_by::<CardCharged>()
            .undone_by::<CardRefunded>();
        Ok(())
    }

    fn on_charged(&mut self, _: CardCharged, ctx: &mut SagaContext<Self>) -> HandlerResult {
        // Every fourth order is regretted once it is paid.
        if self.order % 4 == 3 {
            ctx.compensate("the customer has changed their mind");
            return Ok(());
        }
        ctx.publish(OrderEnded {
            order: self.order,
            completed: true,
        });
        ctx.complete();
        Ok(())
    }

    fn on_declined(&mut self, _: CardDeclined, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.compensate("the card is declined");
        Ok(())
    }

    fn on_deadline(&mut self, _: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.compensate("the order was not paid in time");
        Ok(())
    }

    fn on_compensated(&mut self, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.publish(OrderEnded {
            order: self.order,
            completed: false,
        });
        Ok(())
    }
}

/// All stock in one record, which every order contends for; and all ends of orders, in another.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stock {
    reserved: Vec<u64>,
    released: Vec<u64>,
}

impl Saga for Stock {
    const NAME: &'static str = "sim-stock";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &ReserveStock| m.order % 2, Self::begin);
        saga.handles(|m: &ReserveStock| m.order % 2, Self::on_reserve);
        saga.handles(|m: &ReleaseStock| m.order % 2, Self::on_release);
    }
}

impl Stock {
    fn begin(reserve: ReserveStock, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let mut stock = Self::default();
        stock.on_reserve(reserve, ctx)?;
        Ok(stock)
    }

    fn on_reserve(&mut self, reserve: ReserveStock, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.reserved.push(reserve.order);
        ctx.reply(StockReserved {});
        Ok(())
    }

    fn on_release(&mut self, release: ReleaseStock, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.released.push(release.order);
        ctx.reply(StockReleased {});
        Ok(())
    }
}

/// The list of all ends.
#[derive(Debug, Serialize, Deserialize)]
struct Books {
    ended: Vec<(u64, bool)>,
}

impl Saga for Books {
    const NAME: &'static str = "sim-books";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|_: &OrderEnded| 0u64, Self::begin);
        saga.handles(|_: &OrderEnded| 0u64, Self::on_ended);
    }
}

impl Books {
    fn begin(end: OrderEnded, _: &mut SagaContext<Self>) -> HandlerResult<Self> {
        Ok(Self {
            ended: vec![(end.order, end.completed)],
        })
    }

    fn on_ended(&mut self, end: OrderEnded, _: &mut SagaContext<Self>) -> HandlerResult {
        self.ended.push((end.order, end.completed));
        Ok(())
    }
}

/// Charges cards at a third party that honours idempotency keys.
struct Billing(Outside);

impl Handler<ChargeCard> for Billing {
    async fn handle(&self, charge: ChargeCard, ctx: &mut Context) -> HandlerResult {
        if charge.order % 5 == 4 {
            ctx.reply(CardDeclined {});
            return Ok(());
        }
        // Some banks take longer than a message is lent for.
        if charge.order % 7 == 6 {
            self.0.wait(Duration::from_secs(45)).await;
        }
        let order = charge.order.to_string();
        self.0
            .once("charge", &order, charge.cents, ctx.idempotency_key())
            .await
            .map_err(HandlerError::transient)?;
        ctx.reply(CardCharged {});
        Ok(())
    }
}

impl Handler<RefundCard> for Billing {
    async fn handle(&self, refund: RefundCard, ctx: &mut Context) -> HandlerResult {
        let order = refund.order.to_string();
        self.0
            .once("refund", &order, refund.cents, ctx.idempotency_key())
            .await
            .map_err(HandlerError::transient)?;
        ctx.reply(CardRefunded {});
        Ok(())
    }
}

/// Never manages to look at some orders.
struct Auditor;

impl Handler<OrderEnded> for Auditor {
    async fn handle(&self, end: OrderEnded, _: &mut Context) -> HandlerResult {
        if end.order % 6 == 5 {
            return Err(HandlerError::unexpected("audit the order: the archive is full"));
        }
        Ok(())
    }
}

/// The end of one order, in an archive that every end comes to, whatever the auditor says.
#[derive(Debug, Serialize, Deserialize)]
struct Archived {
    ends: Vec<bool>,
}

impl Saga for Archived {
    const NAME: &'static str = "sim-archived";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |m: &OrderEnded| m.order,
            |end, _| {
                Ok(Self {
                    ends: vec![end.completed],
                })
            },
        );
        saga.handles(
            |m: &OrderEnded| m.order,
            |archived: &mut Self, end, _| {
                archived.ends.push(end.completed);
                Ok(())
            },
        );
    }
}

fn retries() -> RetryPolicy {
    RetryPolicy {
        immediate: 1,
        delayed: 3,
        first_delay: Duration::from_secs(10),
        longest_delay: Duration::from_secs(60),
        give_up_after: Duration::from_secs(24 * 3600),
        jitter: true,
    }
}

fn sales(endpoint: EndpointBuilder, _: &Outside) -> EndpointBuilder {
    endpoint
        .saga::<OrderSaga>()
        .route::<ReserveStock>("warehouse")
        .route::<ReleaseStock>("warehouse")
        .route::<ChargeCard>("billing")
        .route::<RefundCard>("billing")
}

fn warehouse(endpoint: EndpointBuilder, _: &Outside) -> EndpointBuilder {
    endpoint
        .saga::<Stock>()
        .saga::<Books>()
        .handler::<OrderEnded>(Auditor)
        .retries(retries())
}

fn billing(endpoint: EndpointBuilder, outside: &Outside) -> EndpointBuilder {
    endpoint
        .retries(RetryPolicy {
            immediate: 0,
            ..persistent()
        })
        .idempotent_handler::<ChargeCard>(Billing(outside.clone()))
        .idempotent_handler::<RefundCard>(Billing(outside.clone()))
}

/// So many orders through four endpoints, with everything that can go wrong, and what must be true of them.
pub fn orders(count: u64) -> Simulation {
    let orders = simulation(count, |world| {
        world
            .endpoint("sales", sales)
            .endpoint("warehouse", warehouse)
            .storeless("billing", billing)
            .endpoint("archive", |endpoint, _| endpoint.saga::<Archived>())
    });
    orders.invariant("each end of an order is archived once at most", archived_once)
}

/// The same with two processes of the warehouse and two of billing, which compete for messages and records.
pub fn contended_orders(count: u64) -> Simulation {
    simulation(count, |world| {
        world
            .endpoint("sales", sales)
            .endpoint("warehouse", |endpoint, outside| {
                // Processes that share a store ask it from time to time, and nothing else happens for long.
                warehouse(endpoint, outside)
                    .settings(|settings| settings.poll_interval = Duration::from_secs(20))
            })
            .instances(2)
            .storeless("billing", billing)
            .instances(2)
    })
}

/// The same for a client that keeps its requests in a store, and may end at any step.
pub fn orders_of_a_stored_client(count: u64) -> Simulation {
    simulation(count, |world| {
        world
            .stored_client()
            .endpoint("sales", sales)
            .endpoint("warehouse", warehouse)
            .storeless("billing", billing)
    })
}

/// Takes an order, and has stock reserved and the card charged at once.
struct Shop;

impl Handler<PlaceOrder> for Shop {
    async fn handle(&self, placed: PlaceOrder, ctx: &mut Context) -> HandlerResult {
        let PlaceOrder { order, cents } = placed;
        ctx.send(ReserveStock { order });
        ctx.send(ChargeCard { order, cents });
        Ok(())
    }
}

impl Handler<StockReserved> for Shop {
    async fn handle(&self, _: StockReserved, _: &mut Context) -> HandlerResult {
        Ok(())
    }
}

impl Handler<CardCharged> for Shop {
    async fn handle(&self, _: CardCharged, _: &mut Context) -> HandlerResult {
        Ok(())
    }
}

/// One message with two outputs: small enough for every pair of faults.
pub fn one_message() -> Simulation {
    let shop = |endpoint: EndpointBuilder, _: &Outside| {
        endpoint
            .handler::<PlaceOrder>(Shop)
            .handler::<StockReserved>(Shop)
            .handler::<CardCharged>(Shop)
            .route::<ReserveStock>("warehouse")
            .route::<ChargeCard>("billing")
    };
    Simulation::of(|world| {
        world
            .requests_at_once()
            .endpoint("shop", shop)
            .endpoint("warehouse", |endpoint, _| endpoint.saga::<Stock>())
            .storeless("billing", billing)
    })
    .workload(Workload::new().send("shop", PlaceOrder { order: 0, cents: 100 }))
    .invariant("the card is charged once", |effects| {
        effects.count("charge", "0") == 1
    })
    .invariant("stock is reserved once", |effects: &Effects| {
        let [stock] = effects
            .instances::<Stock>("warehouse")
            .try_into()
            .map_err(|_| "there is no stock")?;
        let stock: Stock =
            serde_json::from_str(&stock.state.unwrap_or_default()).map_err(|_| "it can't be read")?;
        if stock.reserved == [0] {
            Ok(())
        } else {
            Err("it is reserved otherwise than once")
        }
    })
}

fn simulation(count: u64, system: impl FnOnce(World) -> World) -> Simulation {
    let placed = (0..count).map(|order| PlaceOrder {
        order,
        cents: 100 + i64::try_from(order).unwrap_or(0),
    });
    Simulation::of(|world| system(world).requests_at_once())
        .workload(
            Workload::new()
                .send_each("sales", placed)
                .send("warehouse", Unwanted {}),
        )
        .invariant("each order ends once", ended_once)
        .invariant(
            "the money is that of the completed orders",
            |effects: &Effects| balanced(&money(effects)),
        )
        .invariant("what was done last is undone first", undone_in_reverse)
        .invariant(
            "stock is reserved once, and released if the order fails",
            kept_stock,
        )
}
