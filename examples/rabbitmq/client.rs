//! A client: places orders, waits until each has an outcome, and compares the payment gateway's books with them.

mod connection;
mod entry;
#[path = "messages/sales.rs"]
mod messages;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use longhaul::prelude::*;
use tokio::sync::Notify;

use crate::entry::Entry;
use crate::messages::{OrderCancelled, OrderCompleted, PlaceOrder};

/// Places orders and waits for their outcomes.
///
/// Every tenth card is refused, and every tenth item is out of stock: these orders are cancelled.
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 everything adds up; 1 something does not, or is missing; 2 wrong usage."
)]
struct Options {
    /// How many orders to place
    #[arg(long, default_value_t = 100)]
    orders: u64,
    /// The books of the payment gateway, as given to billing
    #[arg(long, value_name = "FOLDER")]
    gateway: PathBuf,
    /// How many seconds to wait for all outcomes
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    connection::write_logs();
    match run(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> anyhow::Result<bool> {
    let outcomes = Outcomes::default();
    let client = Endpoint::builder("client")
        .transport(connection::connect("client").await?)
        .idempotent_handler::<OrderCompleted>(outcomes.clone())
        .idempotent_handler::<OrderCancelled>(outcomes.clone())
        .route::<PlaceOrder>("sales")
        .build()
        .await?;
    // Orders of other runs go through the same queues.
    let run = SystemClock.now().as_micros().to_string();
    let session = client.session();
    let wait = async {
        place(&session, &run, options.orders).await?;
        println!("placed     {}", options.orders);
        let all = outcomes.wait_for(&run, options.orders);
        let in_time = tokio::time::timeout(Duration::from_secs(options.patience), all).await;
        in_time.with_context(|| format!("not all orders have an outcome after {} s", options.patience))
    };
    tokio::select! {
        waited = wait => waited?,
        ended = client.run_until(longhaul::stop_signal()) => {
            ended?;
            anyhow::bail!("stopped before all orders had an outcome");
        }
    }
    report(&outcomes, &run, &options.gateway)
}

async fn place(session: &Session, run: &str, orders: u64) -> anyhow::Result<()> {
    for number in 1..=orders {
        let order = format!("{run}-{number}");
        let place = || {
            // Under an id of our own: placed twice, because the answer to the first try was lost, it is the same order.
            let mut batch = session.begin_as(MessageId::new(&order)?);
            let item = if number % 10 == 7 { "unicorn" } else { "teapot" };
            let card = if number % 10 == 3 { "stolen" } else { "good" };
            let cents = 1_000 + number;
            batch.send(PlaceOrder {
                order: order.clone(),
                item: item.to_owned(),
                card: card.to_owned(),
                cents,
            });
            anyhow::Ok(batch)
        };
        let mut tries = 0;
        while let Err(error) = place()?.commit().await {
            tries += 1;
            anyhow::ensure!(tries < 30, "{error}");
            eprintln!("{error}; trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

/// What is known to have become of orders: the money of a completed one, nothing of a cancelled one.
#[derive(Clone, Default)]
struct Outcomes {
    known: Arc<Mutex<BTreeMap<String, u64>>>,
    news: Arc<Notify>,
}

impl Outcomes {
    fn note(&self, order: String, cents: u64) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(order, cents);
        self.news.notify_one();
    }

    /// The outcomes of one run.
    fn of(&self, run: &str) -> BTreeMap<String, u64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .filter(|(order, _)| is_of(run, order))
            .map(|(order, cents)| (order.clone(), *cents))
            .collect()
    }

    async fn wait_for(&self, run: &str, orders: u64) {
        while (self.of(run).len() as u64) < orders {
            self.news.notified().await;
        }
    }
}

impl Handler<OrderCompleted> for Outcomes {
    async fn handle(&self, completed: OrderCompleted, _: &mut Context) -> HandlerResult {
        self.note(completed.order, completed.cents);
        Ok(())
    }
}

impl Handler<OrderCancelled> for Outcomes {
    async fn handle(&self, cancelled: OrderCancelled, _: &mut Context) -> HandlerResult {
        self.note(cancelled.order, 0);
        Ok(())
    }
}

fn is_of(run: &str, order: &str) -> bool {
    order.split_once('-').is_some_and(|(of, _)| of == run)
}

/// Compares the gateway's books with the outcomes. Returns whether they agree.
fn report(outcomes: &Outcomes, run: &str, gateway: &Path) -> anyhow::Result<bool> {
    let outcomes = outcomes.of(run);
    let entries = books(gateway, run)?;
    let mut balances: BTreeMap<&str, i64> = BTreeMap::new();
    for entry in &entries {
        *balances.entry(&entry.order).or_default() += entry.cents;
    }
    let completed = outcomes.values().filter(|cents| **cents > 0).count();
    println!("completed  {completed}");
    println!("cancelled  {}", outcomes.len() - completed);
    let charges = entries.iter().filter(|entry| entry.cents > 0).count();
    println!("charges    {charges}");
    println!("refunds    {}", entries.len() - charges);
    let mut agree = true;
    for (order, cents) in &outcomes {
        let balance = balances.remove(order.as_str()).unwrap_or_default();
        if u64::try_from(balance) != Ok(*cents) {
            println!("the order {order} cost {cents} cents, but the gateway took {balance}");
            agree = false;
        }
    }
    println!("earned     {} cents", outcomes.values().sum::<u64>());
    println!(
        "{}",
        if agree {
            "the gateway's books agree"
        } else {
            "the gateway's books DO NOT agree"
        }
    );
    Ok(agree)
}

fn books(gateway: &Path, run: &str) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let files =
        fs::read_dir(gateway).with_context(|| format!("the books in {} can't be read", gateway.display()))?;
    for file in files {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let entry: Entry = serde_json::from_slice(&fs::read(&path)?)?;
            entries.extend(is_of(run, &entry.order).then_some(entry));
        }
    }
    Ok(entries)
}
