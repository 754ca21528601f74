//! Runs the four endpoints in this process, places orders, and waits until each has an ending.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use longhaul::endpoint::{EndpointBuilder, Monitor};
use longhaul::ids::derived_message_id;
use longhaul::prelude::*;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::departments::{Billing, Office, Warehouse, price};
use crate::ledger::{Ledger, What};
use crate::messages::{
    ChargeCard, OrderCancelled, OrderCompleted, PlaceOrder, RefundCard, ReleaseStock, ReserveStock, ShipOrder,
};
use crate::sales::OrderSaga;
use crate::summary::Summary;

/// At most so many orders are open at once.
const OPEN: usize = 100;
/// At most so many orders are being placed at once.
const PLACING: usize = 16;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Plan {
    pub(crate) orders: u64,
    pub(crate) seed: u64,
}

/// What was done.
pub(crate) struct Report {
    pub(crate) summary: Summary,
    /// Messages that came again and changed nothing.
    pub(crate) duplicates: u64,
    /// Messages in the error queue.
    pub(crate) errors: u64,
    /// Stopped before the end, by a signal.
    pub(crate) interrupted: bool,
}

/// The books of everybody.
struct Ledgers {
    shop: Ledger,
    billing: Arc<Ledger>,
    warehouse: Arc<Ledger>,
    office: Arc<Ledger>,
}

impl Ledgers {
    fn open(directory: &Path) -> anyhow::Result<Self> {
        let open = |name| Ledger::open(&directory.join(name));
        Ok(Self {
            shop: open("shop.jsonl")?,
            billing: Arc::new(open("billing.jsonl")?),
            warehouse: Arc::new(open("warehouse.jsonl")?),
            office: Arc::new(open("office.jsonl")?),
        })
    }

    fn summary(&self) -> Summary {
        let ledgers = [&self.shop, &*self.billing, &*self.warehouse, &*self.office];
        let entries: Vec<_> = ledgers.into_iter().flat_map(Ledger::entries).collect();
        Summary::of(&entries)
    }
}

/// Carries the plan out, from wherever an earlier run in this directory came to.
pub(crate) async fn run(plan: Plan, directory: &Path) -> anyhow::Result<Report> {
    // One database for the broker and for the state of all endpoints. It belongs to this process, and so does the rest
    // of the directory.
    let path = directory.join("database");
    let database = tokio::task::spawn_blocking(|| Database::open(path)).await??;
    let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock))?;
    broker.duplicate_every(10);
    // `longhaul --data DIRECTORY/database queues list` says how far it is.
    #[cfg(unix)]
    let _socket = longhaul::socket::Socket::listen(&database, &broker, &Sled::on(database.clone()))?;
    let ledgers = Ledgers::open(directory)?;

    let mut endpoints = Vec::new();
    for builder in endpoints_on(&broker, &Sled::on(database), &ledgers, plan) {
        endpoints.push(builder.build().await?);
    }
    let session = endpoints[0].session();
    let monitors: Vec<_> = endpoints.iter().map(Endpoint::monitor).collect();
    let (stop, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    for endpoint in endpoints {
        let mut stopped = stopped.clone();
        running.spawn(endpoint.run_until(async move { drop(stopped.wait_for(|stopped| *stopped).await) }));
    }

    let interrupted = tokio::select! {
        done = fulfil(plan, &session, &ledgers) => done.map(|()| false)?,
        () = longhaul::stop_signal() => true,
        Some(ended) = running.join_next() => {
            ended??;
            return Err(anyhow!("an endpoint stopped by itself"));
        }
    };
    stop.send_replace(true);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let stats: Vec<_> = monitors.iter().map(Monitor::stats).collect();
    Ok(Report {
        summary: ledgers.summary(),
        duplicates: stats.iter().map(|stats| stats.duplicates).sum(),
        errors: stats
            .iter()
            .map(|stats| stats.moved_to_errors + stats.parked)
            .sum(),
        interrupted,
    })
}

fn endpoints_on(broker: &LocalBroker, store: &Sled, ledgers: &Ledgers, plan: Plan) -> [EndpointBuilder; 4] {
    let endpoint = |name: &str| {
        Endpoint::builder(name)
            .transport(broker.clone())
            .persistence(store.clone())
    };
    let warehouse = Warehouse(Arc::clone(&ledgers.warehouse));
    let billing = Billing {
        ledger: Arc::clone(&ledgers.billing),
        seed: plan.seed,
    };
    let office = Office(Arc::clone(&ledgers.office));
    [
        endpoint("sales")
            .saga::<OrderSaga>()
            .route::<ReserveStock>("warehouse")
            .route::<ReleaseStock>("warehouse")
            .route::<ShipOrder>("warehouse")
            .route::<ChargeCard>("billing")
            .route::<RefundCard>("billing"),
        endpoint("warehouse")
            .handler::<ReserveStock>(warehouse.clone())
            .handler::<ReleaseStock>(warehouse.clone())
            .handler::<ShipOrder>(warehouse),
        endpoint("billing")
            .handler::<ChargeCard>(billing.clone())
            .handler::<RefundCard>(billing),
        endpoint("office")
            .handler::<OrderCompleted>(office.clone())
            .handler::<OrderCancelled>(office),
    ]
}

/// Places what is not placed yet, and waits until every order has ended.
async fn fulfil(plan: Plan, session: &Session, ledgers: &Ledgers) -> anyhow::Result<()> {
    let all = usize::try_from(plan.orders)?;
    let show = show(ledgers.office.length(), plan.orders);
    let work = async {
        let placed = ledgers.shop.entries().len();
        let missing = (1..=plan.orders).filter(|order| !ledgers.shop.knows(&placed_key(*order)));
        stream::iter(missing.enumerate())
            .map(|(number, order)| place(plan, order, placed + number, session, ledgers))
            .buffer_unordered(PLACING)
            .try_collect::<()>()
            .await?;
        ledgers.office.length().wait_for(|ended| *ended >= all).await?;
        Ok(())
    };
    tokio::select! {
        done = work => done,
        error = show => Err(error),
    }
}

fn placed_key(order: u64) -> String {
    format!("order {order}")
}

async fn place(
    plan: Plan,
    order: u64,
    placed: usize,
    session: &Session,
    ledgers: &Ledgers,
) -> anyhow::Result<()> {
    ledgers
        .office
        .length()
        .wait_for(|ended| placed < ended + OPEN)
        .await?;
    let cents = price(plan.seed, order);
    // Killed before the shop noted it, the order is placed again, under the same id: nothing comes of that.
    let mut batch = session.begin_as(derived_message_id(&["place order"], order));
    batch.send(PlaceOrder { order, cents });
    batch
        .commit()
        .await
        .with_context(|| format!("order {order} can't be placed"))?;
    ledgers
        .shop
        .note(placed_key(order), order, |_| (What::Placed, cents))
        .await?;
    Ok(())
}

/// Shows how many orders have ended: as a bar on a terminal, else as a line now and then. Ends only with an error.
async fn show(mut ended: watch::Receiver<usize>, orders: u64) -> anyhow::Error {
    let bar = ProgressBar::new(orders);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len}") {
        bar.set_style(style);
    }
    loop {
        let now = *ended.borrow_and_update() as u64;
        bar.set_position(now);
        if bar.is_hidden() {
            eprintln!("{now} of {orders} orders ended");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if let Err(error) = ended.changed().await {
            return error.into();
        }
    }
}
