//! Longhaul's side: four endpoints, each with connections of its own, as four processes would have.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use longhaul::endpoint::EndpointBuilder;
use longhaul::prelude::*;
use longhaul::rabbitmq::RabbitMq;
use longhaul::sagas::SagaEndpoint;
use tokio::sync::watch;

use crate::orders::{Charge, OrderSaga, PlaceOrder, Reserve, STOPWATCH, Ship, Worker, note};
use crate::report::{Report, Side, Stopwatch};

/// Where the saga endpoint keeps its state.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keeping {
    Sled,
    Memory,
}

/// The most orders under way at once in a throughput run.
const UNDER_WAY: u64 = 2_000;

/// Runs `orders` through the saga, as fast as it goes or `rate` a second.
pub(crate) async fn run(url: &str, keeping: Keeping, orders: u64, rate: Option<u64>) -> Result<Report> {
    let prefix = format!("bench{}", std::process::id());
    let directory = tempfile::tempdir()?;
    let names = Names::new(&prefix);
    let (stop, stopped) = watch::channel(false);
    let sales = endpoint(url, &names.sales).await?;
    let sales = match keeping {
        Keeping::Sled => sales.persistence(Sled::open(directory.path().join("data"))?),
        Keeping::Memory => sales.persistence(Memory::pretending_durable()),
    };
    let sales = sales
        .saga::<OrderSaga>()
        .route::<Charge>(&names.billing)
        .route::<Reserve>(&names.warehouse)
        .route::<Ship>(&names.shipping);
    let billing = endpoint(url, &names.billing)
        .await?
        .idempotent_handler::<Charge>(Worker);
    let warehouse = endpoint(url, &names.warehouse)
        .await?
        .idempotent_handler::<Reserve>(Worker);
    let shipping = endpoint(url, &names.shipping)
        .await?
        .idempotent_handler::<Ship>(Worker);
    let mut running = Vec::new();
    for builder in [sales, billing, warehouse, shipping] {
        let endpoint = builder.build().await?;
        let mut stopped = stopped.clone();
        running.push(tokio::spawn(endpoint.run_until(async move {
            drop(stopped.wait_for(|stop| *stop).await);
        })));
    }
    let client = endpoint(url, &format!("{prefix}.client"))
        .await?
        .route::<PlaceOrder>(&names.sales);
    let session = client.build().await?.session();
    place(&session, orders, rate).await?;
    let stopwatch = STOPWATCH.get().context("the stopwatch runs")?;
    stopwatch.wait(orders).await?;
    let side = match keeping {
        Keeping::Sled => Side::Longhaul,
        Keeping::Memory => Side::LonghaulMemory,
    };
    let report = stopwatch.report(side, orders);
    stop.send(true)?;
    for endpoint in running {
        endpoint.await??;
    }
    Ok(report)
}

struct Names {
    sales: String,
    billing: String,
    warehouse: String,
    shipping: String,
}

impl Names {
    fn new(prefix: &str) -> Self {
        let name = |part: &str| format!("{prefix}.{part}");
        Self {
            sales: name("sales"),
            billing: name("billing"),
            warehouse: name("warehouse"),
            shipping: name("shipping"),
        }
    }
}

async fn endpoint(url: &str, name: &str) -> Result<EndpointBuilder> {
    Ok(Endpoint::builder(name).transport(RabbitMq::connect(url).await?))
}

/// Places orders in batches, with a bounded number under way; or one at a time at a fixed rate.
pub(crate) async fn place(session: &Session, orders: u64, rate: Option<u64>) -> Result<()> {
    let stopwatch = match STOPWATCH.get() {
        Some(stopwatch) => stopwatch,
        None => {
            drop(STOPWATCH.set(Stopwatch::new()?));
            STOPWATCH.get().context("the stopwatch runs")?
        }
    };
    let order = |order| PlaceOrder {
        order,
        cents: 100 + order,
        note: note(),
    };
    if let Some(rate) = rate {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate)?);
        let session = Arc::new(session.clone());
        for number in 0..orders {
            ticks.tick().await;
            stopwatch.placed(number);
            let session = Arc::clone(&session);
            drop(tokio::spawn(async move { session.send(order(number)).await }));
        }
        return Ok(());
    }
    let mut number = 0;
    while number < orders {
        stopwatch.under_way_below(number, UNDER_WAY).await;
        let mut batch = session.begin();
        for _ in 0..100.min(orders - number) {
            stopwatch.placed(number);
            batch.send(order(number));
            number += 1;
        }
        batch.commit().await?;
    }
    Ok(())
}
