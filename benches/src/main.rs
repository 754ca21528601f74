//! Benchmarks: the three-step order saga beside a hand-written loop on the same broker, in one run.
//!
//! Each side runs in a process of its own, so that its memory can be told apart. `scripts/bench.sh` builds it as it counts, and
//! gives it a broker of its own.

mod embedded;
mod endpoints;
mod orders;
mod raw;
mod report;
mod sqs;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use report::{Report, Side};

/// Measures Longhaul against a raw client on the same broker.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run although this was built without optimization: requests are counted rightly, times mean nothing.
    #[arg(long)]
    unoptimized: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The order saga on RabbitMQ beside a raw lapin loop; the broker is named by LONGHAUL_AMQP_URL.
    Rabbitmq {
        /// Orders in each throughput run.
        #[arg(long, default_value_t = 20_000)]
        orders: u64,
        /// Seconds of each latency run at 50 orders a second; 0 leaves them out.
        #[arg(long, default_value_t = 20)]
        latency_seconds: u64,
        /// Runs of each side, taken in turn; the median counts.
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
    /// Saga transitions a second on the embedded broker, with sled and with the memory store.
    Embedded {
        /// Orders in each run.
        #[arg(long, default_value_t = 20_000)]
        orders: u64,
    },
    /// The order saga on SQS beside a raw SDK loop, and requests an order; LONGHAUL_SQS_ENDPOINT names the emulator.
    Sqs {
        /// Orders in each run.
        #[arg(long, default_value_t = 2_000)]
        orders: u64,
        /// Runs of each side, taken in turn; the median counts.
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
    /// One side of the benchmark on SQS, in this process.
    #[command(hide = true)]
    SqsSide {
        /// Which.
        side: Side,
        #[arg(long)]
        orders: u64,
    },
    /// One side of the benchmark on RabbitMQ, in this process.
    #[command(hide = true)]
    Side {
        /// Which.
        side: Side,
        #[arg(long)]
        orders: u64,
        #[arg(long)]
        rate: Option<u64>,
    },
}

/// For every side.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter("error,lapin=off")
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let arguments = Arguments::parse();
    let is_side = matches!(arguments.command, Command::Side { .. } | Command::SqsSide { .. });
    anyhow::ensure!(
        !cfg!(debug_assertions) || arguments.unoptimized || is_side,
        "failed to measure: this was built without optimization; use scripts/bench.sh, or build it with --release"
    );
    runtime.block_on(async {
        match arguments.command {
            Command::Rabbitmq {
                orders,
                latency_seconds,
                runs,
            } => rabbitmq(orders, latency_seconds, runs).await,
            Command::Embedded { orders } => embedded::run(orders).await,
            Command::Sqs { orders, runs } => sqs::run(orders, runs).await,
            Command::SqsSide { side, orders } => Box::pin(sqs::run_side(side, orders)).await,
            Command::Side { side, orders, rate } => {
                let report = side_report(side, orders, rate).await?;
                println!("{}", serde_json::to_string(&report)?);
                Ok(())
            }
        }
    })
}

async fn side_report(side: Side, orders: u64, rate: Option<u64>) -> Result<Report> {
    let url =
        std::env::var("LONGHAUL_AMQP_URL").context("set LONGHAUL_AMQP_URL to a broker made for this")?;
    match side {
        Side::Raw => raw::run(&url, orders, rate).await,
        Side::Longhaul => endpoints::run(&url, endpoints::Keeping::Sled, orders, rate).await,
        Side::LonghaulMemory => endpoints::run(&url, endpoints::Keeping::Memory, orders, rate).await,
    }
}

async fn rabbitmq(orders: u64, latency_seconds: u64, runs: usize) -> Result<()> {
    const SIDES: [Side; 3] = [Side::Raw, Side::Longhaul, Side::LonghaulMemory];
    let mut rates = [const { Vec::new() }; 3];
    for run in 0..runs.max(1) {
        for (side, rates) in SIDES.into_iter().zip(&mut rates) {
            let report = child(side, orders, None).await?;
            println!("run {}: {report}", run + 1);
            rates.push(report.orders_per_second());
        }
    }
    let medians = rates.map(report::median);
    println!(
        "\norders/s (median of {}): raw {:.0}, longhaul on sled {:.0}, longhaul in memory {:.0}",
        runs.max(1),
        medians[0],
        medians[1],
        medians[2]
    );
    println!(
        "ratio: longhaul on sled / raw {:.2}, in memory / raw {:.2}",
        medians[1] / medians[0],
        medians[2] / medians[0]
    );
    if latency_seconds > 0 {
        println!("\nat 50 orders a second:");
        for side in [Side::Raw, Side::Longhaul] {
            println!("{}", child(side, 50 * latency_seconds, Some(50)).await?);
        }
    }
    Ok(())
}

async fn child(side: Side, orders: u64, rate: Option<u64>) -> Result<Report> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command
        .arg("side")
        .arg(side.as_str())
        .arg("--orders")
        .arg(orders.to_string());
    if let Some(rate) = rate {
        command.arg("--rate").arg(rate.to_string());
    }
    let output = command
        .stderr(std::process::Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    anyhow::ensure!(
        output.status.success(),
        "the {} side failed: {}",
        side.as_str(),
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
