//! Longhaul's side: four endpoints, each with a transport of its own, as four processes would have.

use anyhow::{Context as _, Result};
use longhaul::endpoint::EndpointBuilder;
use longhaul::prelude::*;
use longhaul::sagas::SagaEndpoint;
use longhaul::sqs::{Requests, Sqs};
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
    };
    for (name, requests) in ["sales", "billing", "warehouse", "shipping", "client"].iter().zip(&requests) {
        let [sends, polls, settlements] = [requests.sends(), requests.polls(), requests.settlements()];
        eprintln!("{name}: sends {sends:?}, polls {polls:?}, settlements {settlements:?}");
    }
    stop.send(true)?;
    for endpoint in running {
        endpoint.await??;
    }
    remove(&client(at).await, &prefix).await?;
    Ok(measured)
}
