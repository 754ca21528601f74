//! The same saga in one process on the embedded broker, on sled and in memory.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use longhaul::endpoint::EndpointBuilder;
use longhaul::prelude::*;
use longhaul::sagas::SagaEndpoint;
use tokio::sync::watch;

use crate::endpoints::place;
use crate::orders::{Charge, OrderSaga, PlaceOrder, Reserve, STOPWATCH, Ship, Worker};
use crate::report::{Side, Stopwatch};

/// Runs both, one after the other.
pub(crate) async fn run(orders: u64) -> Result<()> {
    drop(STOPWATCH.set(Stopwatch::new()?));
    let directory = tempfile::tempdir()?;
    let database = Database::open(directory.path().join("data"))?;
    let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock))?;
    let before = database.stats();
    let seconds = side(&broker, orders, |builder| {
        builder.persistence(Sled::on(database.clone()))
    })
    .await?;
    let after = database.stats();
    print("embedded broker and sled, synced", orders, seconds);
    let (commits, syncs) = (after.commits - before.commits, after.syncs - before.syncs);
    println!(
        "  group commit: {commits} commits in {syncs} syncs = {} commits a sync",
        commits / syncs.max(1)
    );
    let broker = LocalBroker::in_memory(Arc::new(SystemClock));
    let seconds = side(&broker, orders, |builder| {
        builder.persistence(Memory::pretending_durable())
    })
    .await?;
    print("embedded broker and store in memory", orders, seconds);
    Ok(())
}

fn print(what: &str, orders: u64, seconds: f64) {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = orders as f64 / seconds;
    println!(
        "{what}: {orders} orders in {seconds:.2} s = {rate:.0} orders/s = {:.0} saga transitions/s",
        rate * 4.0
    );
}

async fn side(
    broker: &LocalBroker,
    orders: u64,
    keep: impl Fn(EndpointBuilder) -> EndpointBuilder,
) -> Result<f64> {
    let (stop, stopped) = watch::channel(false);
    let endpoint = |name: &str| Endpoint::builder(name).transport(broker.clone());
    let sales = keep(endpoint("sales"))
        .saga::<OrderSaga>()
        .route::<Charge>("worker")
        .route::<Reserve>("worker")
        .route::<Ship>("worker");
    let worker = endpoint("worker")
        .idempotent_handler::<Charge>(Worker)
        .idempotent_handler::<Reserve>(Worker)
        .idempotent_handler::<Ship>(Worker);
    let mut running = Vec::new();
    for builder in [sales, worker] {
        let endpoint = builder.build().await?;
        let mut stopped = stopped.clone();
        running.push(tokio::spawn(endpoint.run_until(async move {
            drop(stopped.wait_for(|stop| *stop).await);
        })));
    }
    let session = endpoint("client")
        .route::<PlaceOrder>("sales")
        .build()
        .await?
        .session();
    let stopwatch = STOPWATCH.get().context("the stopwatch runs")?;
    stopwatch.reset();
    place(&session, orders, None).await?;
    stopwatch.wait(orders).await?;
    let report = stopwatch.report(Side::Longhaul, orders);
    stop.send(true)?;
    for endpoint in running {
        endpoint.await??;
    }
    Ok(report.seconds)
}
