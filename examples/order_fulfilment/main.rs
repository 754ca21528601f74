//! Orders through payment, stock and shipping, in one process, with nothing installed.
//!
//! ```text
//! cargo run --release --example order_fulfilment
//! ```
//!
//! Some cards are declined, some banks never answer, and every tenth message is delivered twice. Kill it at any moment
//! and start it again with the same `--data`: it goes on, and in the end the ledgers of billing, warehouse and office,
//! which know nothing of sagas, add up. Begin to read at `sales.rs`.

mod departments;
mod ledger;
mod messages;
mod run;
mod sales;
mod summary;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use longhaul::clock::{Clock, SystemClock};
use tracing_subscriber::EnvFilter;

use crate::run::{Plan, Report};

/// The default for `--orders`.
const ORDERS: u64 = 500;

/// Takes orders through payment, stock and shipping, times out, compensates, survives `kill -9`, and absorbs duplicates.
#[derive(Parser)]
#[command(after_help = "\
Exit codes: 0 all orders have ended, and the ledgers add up; 1 they don't, or the run failed or was stopped; 2 wrong usage.")]
struct Options {
    /// How many orders to place [default: 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    orders: Option<u64>,
    /// Where state and ledgers are kept; a run that was killed goes on when started again with the same directory
    /// [default: a new one in the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which cards are declined and which banks never answer [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match fulfil(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Usage(text)) => {
            eprintln!("error: {text}");
            ExitCode::from(2)
        }
        Err(Failure::Run(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Why there is no result.
enum Failure {
    Usage(String),
    Run(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

/// Runs to the end. Says whether all is well.
fn fulfil(options: &Options) -> Result<bool, Failure> {
    let directory = match &options.data {
        Some(directory) => directory.clone(),
        None => tempfile::Builder::new()
            .prefix("order-fulfilment-")
            .tempdir()?
            .keep(),
    };
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("the data directory {} can't be made", directory.display()))?;
    let plan = plan(options, &directory)?;
    println!(
        "{} orders. State and ledgers are in {shown}\nKill this at any moment, and go on with --data {shown}\n",
        plan.orders,
        shown = directory.display(),
    );
    let began = SystemClock.now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(run::run(plan, &directory))?;
    let took = SystemClock.now().since(began);
    print!("{}", report.summary);
    println!(
        "\n{} messages came a second time and changed nothing; {:.1} s",
        report.duplicates,
        took.as_secs_f64()
    );
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report.summary)? + "\n")
            .with_context(|| format!("the figures can't be written to {}", path.display()))?;
    }
    Ok(check(&report, plan, &directory))
}

/// What to do: the options given, or what the directory was begun with.
fn plan(options: &Options, directory: &Path) -> Result<Plan, Failure> {
    let path = directory.join("plan.json");
    let begun: Option<Plan> = match std::fs::read(&path) {
        Ok(bytes) => Some(
            serde_json::from_slice(&bytes).with_context(|| format!("{} can't be read", path.display()))?,
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let Some(begun) = begun else {
        let plan = Plan {
            orders: options.orders.unwrap_or(ORDERS),
            seed: options.seed.unwrap_or(1),
        };
        // Whole or not at all, whenever this is killed.
        let written = directory.join("plan.json.new");
        std::fs::write(&written, serde_json::to_vec(&plan)?)?;
        std::fs::rename(written, path)?;
        return Ok(plan);
    };
    let differs = |given: Option<u64>, begun| given.is_some_and(|given| given != begun);
    if differs(options.orders, begun.orders) || differs(options.seed, begun.seed) {
        return Err(Failure::Usage(format!(
            "{} was begun with --orders {} --seed {}: leave these out to go on, or name another directory",
            directory.display(),
            begun.orders,
            begun.seed
        )));
    }
    Ok(begun)
}

/// Says what is wrong with a run. Returns whether nothing is.
fn check(report: &Report, plan: Plan, directory: &Path) -> bool {
    if report.interrupted {
        println!(
            "stopped before the end; go on with --data {}",
            directory.display()
        );
        return false;
    }
    let mut faults = report.summary.faults();
    if report.summary.placed != plan.orders {
        faults.push("all orders are placed");
    }
    if report.errors > 0 {
        faults.push("no message is in the error queue");
    }
    for fault in &faults {
        println!("It does NOT add up. This should be so: {fault}");
    }
    if faults.is_empty() {
        println!("It adds up: every order has one ending, and the money is where it belongs.");
    }
    faults.is_empty()
}
