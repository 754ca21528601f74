//! A discount that depends on the last week: each order adds to a running total, and a timeout takes it off again.
//!
//! Every message is delivered twice, and counts once. On virtual time: `cargo run --example knock_knock`

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use longhaul::clock::ManualClock;
use longhaul::prelude::*;
use longhaul_testing::virtual_time::VirtualTime;
use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Whoever ordered for this much within a week gets a tenth off.
const ENOUGH: u64 = 10_000;

#[derive(Event, Serialize, Deserialize)]
#[message("shop.order_submitted.v1")]
pub(crate) struct OrderSubmitted {
    pub(crate) customer: String,
    pub(crate) order: u32,
    pub(crate) cents: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("shop.process_order.v1")]
pub(crate) struct ProcessOrder {
    customer: String,
    pub(crate) order: u32,
    cents: u64,
    pub(crate) percent_off: u64,
}

/// What a customer ordered within the last week.
#[derive(Serialize, Deserialize)]
pub(crate) struct CustomerTotal {
    customer: String,
    cents: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Elapsed {
    /// An order of so much is a week old.
    Week { cents: u64 },
}

impl Saga for CustomerTotal {
    const NAME: &'static str = "customer-total";
    type Id = String;
    type Timeout = Elapsed;

    fn define(saga: &mut Definition<Self>) {
        // The first order creates the total; later ones find it.
        saga.starts_on(|m: &OrderSubmitted| m.customer.clone(), Self::start);
        saga.handles(|m: &OrderSubmitted| m.customer.clone(), Self::on_order);
        saga.times_out(Self::on_elapsed);
    }
}

impl CustomerTotal {
    fn start(submitted: OrderSubmitted, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let mut total = Self {
            customer: submitted.customer.clone(),
            cents: 0,
        };
        total.on_order(submitted, ctx)?;
        Ok(total)
    }

    fn on_order(&mut self, submitted: OrderSubmitted, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let OrderSubmitted {
            customer,
            order,
            cents,
        } = submitted;
        let percent_off = if self.cents >= ENOUGH { 10 } else { 0 };
        ctx.send(ProcessOrder {
            customer,
            order,
            cents,
            percent_off,
        });
        self.cents += cents;
        ctx.request_timeout(WEEK, Elapsed::Week { cents });
        Ok(())
    }

    fn on_elapsed(&mut self, elapsed: Elapsed, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match elapsed {
            Elapsed::Week { cents } => self.cents -= cents,
        }
        if self.cents == 0 {
            // Nothing left to remember: the next order begins anew.
            ctx.complete();
        }
        Ok(())
    }
}

/// Notes what was processed; it has no way to notice a double, so that one would show.
#[derive(Clone, Default)]
pub(crate) struct Processed(Arc<Mutex<Vec<(u32, u64)>>>);

impl Handler<ProcessOrder> for Processed {
    async fn handle(&self, process: ProcessOrder, ctx: &mut Context) -> HandlerResult {
        println!(
            "{}  {:<6} order {}: {:>6.2}, {:>2} % off",
            &ctx.now().to_string()[..10],
            process.customer,
            process.order,
            f64::from(u32::try_from(process.cents)?) / 100.0,
            process.percent_off
        );
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        orders.push((process.order, process.percent_off));
        Ok(())
    }
}

/// Day, customer, order, cents, and the discount that it must get.
const ORDERS: [(u32, &str, u32, u64, u64); 7] = [
    (0, "Ada", 1, 6_000, 0),
    (1, "Ada", 2, 5_000, 0),
    (2, "Ada", 3, 1_000, 10),  // 110.00 within the week
    (2, "Grace", 4, 9_900, 0), // somebody else's total is another saga
    (7, "Ada", 5, 1_000, 0),   // the first order is a week old and has just been taken off
    (8, "Grace", 6, 2_000, 0),
    (30, "Ada", 7, 1_000, 0), // all of it is long gone
];

async fn order(session: &Session, clock: &ManualClock) -> Result<()> {
    let start = clock.now();
    for (day, customer, order, cents, _) in ORDERS {
        // Each some minutes later in the day than the one before: so what is a week old is already taken off.
        let minutes = Duration::from_secs(60 * u64::from(order));
        clock.sleep_until(start + day * DAY + minutes).await;
        let customer = customer.to_owned();
        let submitted = OrderSubmitted {
            customer,
            order,
            cents,
        };
        session.publish(submitted).await?;
    }
    clock.sleep_until(clock.now() + 2 * WEEK).await;
    Ok(())
}

fn main() -> Result<()> {
    let clock = ManualClock::starting_at(Timestamp::parse("2026-01-01T00:00:00Z")?);
    let broker = LocalBroker::in_memory(Arc::new(clock.clone()));
    broker.duplicate_every(1);
    let processed = Processed::default();
    let shop = Endpoint::builder("shop")
        .transport(broker)
        .persistence(Memory::pretending_durable())
        .clock(clock.clone())
        .saga::<CustomerTotal>()
        .handler::<ProcessOrder>(processed.clone());
    let duplicates = VirtualTime::new(clock.clone()).block_on(async {
        let shop = shop.build().await?;
        let (session, monitor) = (shop.session(), shop.monitor());
        let mut ordered = Ok(());
        shop.run_until(async { ordered = order(&session, &clock).await })
            .await?;
        ordered.map(|()| monitor.stats().duplicates)
    })?;
    println!("{duplicates} duplicates were absorbed");
    ensure!(duplicates > 0, "the broker delivered nothing twice");
    let processed = processed.0.lock().unwrap_or_else(PoisonError::into_inner);
    let expected: Vec<(u32, u64)> = ORDERS
        .iter()
        .map(|(_, _, order, _, percent)| (*order, *percent))
        .collect();
    ensure!(
        *processed == expected,
        "processed {processed:?}, but expected {expected:?}"
    );
    println!("every order was processed once, with the discount that it must get");
    Ok(())
}
