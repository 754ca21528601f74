//! Longhaul's side: four endpoints, each with a transport of its own, as four processes would have.

use anyhow::{Context as _, Result};
use longhaul::endpoint::EndpointBuilder;
use longhaul::prelude::*;
use longhaul::sagas::SagaEndpoint;
use longhaul::sqs::{Filled, Requests, Sqs};
use tokio::sync::watch;

use super::{Measured, client, remove};
use crate::endpoints::{Keeping, place};
use crate::orders::{Charge, OrderSaga, PlaceOrder, Reserve, STOPWATCH, Ship, Worker};
use crate::report::Side;

/// Runs `orders` through the saga, as fast as it goes.
pub(crate) async fn run(at: &str, keeping: Keeping, orders: u64) -> Result<Measured> {
    let prefix = format!("bench{}-", std::process::id());
    let directory = tempfile::tempdir()?;
    let (stop, stopped) = watch::channel(false);
    let mut requests = Vec::new();
    let mut endpoint = async |name: &str| -> Result<EndpointBuilder> {
        let sqs = Sqs::builder().emulator(at).prefix(&prefix).connect().await?;
        requests.push(sqs.requests());
        Ok(Endpoint::builder(name).transport(sqs))
    };
    let sales = endpoint("sales").await?;
    let sales = match keeping {
        Keeping::Sled => sales.persistence(Sled::open(directory.path().join("data"))?),
        Keeping::Memory => sales.persistence(Memory::pretending_durable()),
    };
    let sales = sales
        .saga::<OrderSaga>()
        .route::<Charge>("billing")
        .route::<Reserve>("warehouse")
        .route::<Ship>("shipping");
    let billing = endpoint("billing").await?.idempotent_handler::<Charge>(Worker);
    let warehouse = endpoint("warehouse").await?.idempotent_handler::<Reserve>(Worker);
    let shipping = endpoint("shipping").await?.idempotent_handler::<Ship>(Worker);
    let client_builder = endpoint("client").await?.route::<PlaceOrder>("sales");
    let mut running = Vec::new();
    for builder in [sales, billing, warehouse, shipping] {
        let endpoint = builder.build().await?;
        let mut stopped = stopped.clone();
        running.push(tokio::spawn(endpoint.run_until(async move {
            drop(stopped.wait_for(|stop| *stop).await);
        })));
    }
    let session = client_builder.build().await?.session();
    let made = |requests: &[Requests]| requests.iter().map(Requests::count).sum::<u64>();
    let before = made(&requests);
    place(&session, orders, None).await?;
    let stopwatch = STOPWATCH.get().context("the stopwatch runs")?;
    stopwatch.wait(orders).await?;
    let side = match keeping {
        Keeping::Sled => Side::Longhaul,
        Keeping::Memory => Side::LonghaulMemory,
    };
    let measured = Measured {
        report: stopwatch.report(side, orders),
        requests: made(&requests) - before,
        filled: Some([Requests::sends, Requests::polls, Requests::settlements].map(|of| fill(&requests, of))),
    };
    stop.send(true)?;
    for endpoint in running {
        endpoint.await??;
    }
    remove(&client(at).await, &prefix).await?;
    Ok(measured)
}

/// How many messages a request of one kind has, of all endpoints together.
fn fill(all: &[Requests], of: fn(&Requests) -> Filled) -> f64 {
    let (mut requests, mut messages) = (0, 0);
    for filled in all.iter().map(of) {
        requests += filled.requests;
        messages += filled.messages;
    }
    #[expect(clippy::cast_precision_loss, reason = "an average for people")]
    let fill = messages as f64 / requests.max(1) as f64;
    fill
}
