//! A shop: places orders and waits until it has heard of each of them, through the topics of SNS.

mod connection;
#[path = "messages/orders.rs"]
mod messages;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use longhaul::prelude::*;
use tokio::sync::Notify;

use crate::messages::{OrderConfirmed, OrderRejected, PlaceOrder};

/// Places orders and waits for their outcomes. Every tenth item is sold out.
#[derive(Parser)]
struct Options {
    /// How many orders to place
    #[arg(long, default_value_t = 100)]
    orders: usize,
    /// How many seconds to wait for all outcomes
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    connection::write_logs();
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let outcomes = Outcomes::default();
    let shop = Endpoint::builder("shop")
        .transport(connection::connect().await?)
        .idempotent_handler::<OrderConfirmed>(outcomes.clone())
        .idempotent_handler::<OrderRejected>(outcomes.clone())
        .route::<PlaceOrder>("orders")
        .build()
        .await?;
    // Orders of other runs go through the same queues.
    let run = SystemClock.now().as_micros().to_string();
    let session = shop.session();
    let wait = async {
        for number in 1..=options.orders {
            place(&session, &run, number).await?;
        }
        println!("placed    {}", options.orders);
        let all = outcomes.wait_for(&run, options.orders);
        let in_time = tokio::time::timeout(Duration::from_secs(options.patience), all).await;
        in_time.with_context(|| format!("not all orders have an outcome after {} s", options.patience))
    };
    tokio::select! {
        waited = wait => waited?,
        ended = shop.run_until(longhaul::stop_signal()) => {
            ended?;
            anyhow::bail!("stopped before all orders had an outcome");
        }
    }
    let outcomes = outcomes.of(&run);
    let confirmed = outcomes.values().filter(|confirmed| **confirmed).count();
    println!("confirmed {confirmed}");
    println!("rejected  {}", outcomes.len() - confirmed);
    Ok(())
}

async fn place(session: &Session, run: &str, number: usize) -> anyhow::Result<()> {
    let order = format!("{run}-{number}");
    let mut tries = 0;
    loop {
        // Under an id of our own: placed twice, because the answer to the first try was lost, it is the same order.
        let mut batch = session.begin_as(MessageId::new(&order)?);
        let item = if number % 10 == 7 { "unicorn" } else { "teapot" };
        batch.send(PlaceOrder {
            order: order.clone(),
            item: item.to_owned(),
        });
        let Err(error) = batch.commit().await else {
            return Ok(());
        };
        tries += 1;
        anyhow::ensure!(tries < 30, "{error}");
        eprintln!("{error}; trying again");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Which orders were confirmed, and which were not.
#[derive(Clone, Default)]
struct Outcomes {
    known: Arc<Mutex<BTreeMap<String, bool>>>,
    news: Arc<Notify>,
}

impl Outcomes {
    fn note(&self, order: String, is_confirmed: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(order, is_confirmed);
        self.news.notify_one();
    }

    /// The outcomes of one run.
    fn of(&self, run: &str) -> BTreeMap<String, bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_of = |order: &str| order.split_once('-').is_some_and(|(of, _)| of == run);
        known
            .iter()
            .filter(|(order, _)| is_of(order))
            .map(|(order, confirmed)| (order.clone(), *confirmed))
            .collect()
    }

    async fn wait_for(&self, run: &str, orders: usize) {
        while self.of(run).len() < orders {
            self.news.notified().await;
        }
    }
}

impl Handler<OrderConfirmed> for Outcomes {
    async fn handle(&self, confirmed: OrderConfirmed, _: &mut Context) -> HandlerResult {
        self.note(confirmed.order, true);
        Ok(())
    }
}

impl Handler<OrderRejected> for Outcomes {
    async fn handle(&self, rejected: OrderRejected, _: &mut Context) -> HandlerResult {
        self.note(rejected.order, false);
        Ok(())
    }
}
