//! Real orders, one saga each: paid in time or cancelled, delivered in time or a voucher.
//!
//! ```text
//! cargo run --release --example marketplace -- --orders FILE
//! ```
//!
//! Each line of the file is one order as JSON, with everything that happened to it. The events are played at their own
//! times on a clock that runs faster than the real one, or in virtual time. `saga.rs` holds the rules; `truth.rs` holds
//! them once more, without sagas, to compare.

mod cast;
mod data;
mod effects;
mod feed;
mod messages;
mod orders;
mod pace;
mod run;
mod saga;
mod summary;
mod truth;

use std::fs::File;
use std::io::{BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context;
use clap::{CommandFactory, Parser, ValueEnum, error::ErrorKind};
use longhaul::clock::{Clock, SystemClock};
use tracing_subscriber::EnvFilter;

use crate::orders::{Order, Orders};
use crate::run::{Broker, Plan, Report, Speed};

/// Runs one saga per order of a marketplace, over everything that happened to the orders.
///
/// An order must be approved within 3 days of its purchase, or be delivered by then; else it is cancelled and its stock
/// released, and an approval that still comes is refunded. One that is not there by its estimated time gets a voucher.
#[derive(Parser)]
#[command(after_help = "\
Exit codes: 0 done; 1 a line of the file is not an order, or the run failed or did not come to the truth; 2 wrong usage, or the \
file can't be read.

With --broker rabbitmq, LONGHAUL_AMQP_URL names the broker; amqp://localhost if unset. With --broker sqs, LONGHAUL_SQS_ENDPOINT
names an emulator; AWS itself if unset, with region and credentials from the usual places.")]
struct Options {
    /// JSON lines with the fields order_id, customer_id, status, purchased, approved, shipped, delivered and estimated;
    /// times as in RFC 3339, null where something did not happen
    #[arg(long, value_name = "FILE")]
    orders: PathBuf,
    /// Where messages go
    #[arg(long, value_enum, default_value_t = BrokerName::Embedded)]
    broker: BrokerName,
    /// Keep state in this directory; a run that was killed goes on from there when started again. In memory if not given
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many times as fast as in reality time passes; `max`: virtual time, with the embedded broker only
    /// [default: max; 1000000 with rabbitmq and sqs]
    #[arg(long, value_name = "N|max")]
    speed: Option<Speed>,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Compute the figures straight from the file, without sagas
    #[arg(long)]
    truth: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BrokerName {
    /// In this process
    Embedded,
    /// The one that LONGHAUL_AMQP_URL names
    Rabbitmq,
    /// Amazon SQS, or the emulator that LONGHAUL_SQS_ENDPOINT names
    Sqs,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse() {
            Ok(times) if (0.001..=Self::FASTEST).contains(&times) => Ok(Self::Times(times)),
            Ok(_) | Err(_) => Err(format!(
                "expected `max` or a number from 0.001 to {}",
                Self::FASTEST
            )),
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error,lapin=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let plan = options.plan().unwrap_or_else(|error| error.exit());
    let orders = match read(&options.orders) {
        Ok(orders) => orders,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    for fault in &orders.faults {
        eprintln!("{}: {fault}", options.orders.display());
    }
    match show(&options, &plan, &orders) {
        Ok(true) if orders.faults.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn plan(&self) -> Result<Plan, clap::Error> {
        let wrong = |text: &str| Self::command().error(ErrorKind::ArgumentConflict, text);
        let (broker, speed) = match (self.broker, self.speed) {
            (BrokerName::Embedded, speed) => (Broker::Embedded, speed.unwrap_or(Speed::Max)),
            (BrokerName::Rabbitmq | BrokerName::Sqs, Some(Speed::Max)) => {
                return Err(wrong(
                    "a broker that is a process of its own can't run on virtual time: give --speed a number",
                ));
            }
            (BrokerName::Rabbitmq, speed) => (
                rabbitmq().map_err(|text| wrong(&text))?,
                speed.unwrap_or(Speed::Times(1e6)),
            ),
            (BrokerName::Sqs, speed) => (
                sqs().map_err(|text| wrong(&text))?,
                speed.unwrap_or(Speed::Times(1e6)),
            ),
        };
        Ok(Plan {
            broker,
            speed,
            data: self.data.clone(),
        })
    }
}

#[cfg(feature = "rabbitmq")]
fn rabbitmq() -> Result<Broker, String> {
    match std::env::var("LONGHAUL_AMQP_URL") {
        Ok(url) => Ok(Broker::RabbitMq { url }),
        Err(std::env::VarError::NotPresent) => Ok(Broker::RabbitMq {
            url: String::from("amqp://localhost"),
        }),
        Err(error @ std::env::VarError::NotUnicode(_)) => {
            Err(format!("LONGHAUL_AMQP_URL can't be used: {error}"))
        }
    }
}

#[cfg(not(feature = "rabbitmq"))]
fn rabbitmq() -> Result<Broker, String> {
    Err(String::from(
        "this program was built without RabbitMQ: build it with `--features rabbitmq`",
    ))
}

#[cfg(feature = "sqs")]
fn sqs() -> Result<Broker, String> {
    match std::env::var("LONGHAUL_SQS_ENDPOINT") {
        Ok(url) => Ok(Broker::Sqs { emulator: Some(url) }),
        Err(std::env::VarError::NotPresent) => Ok(Broker::Sqs { emulator: None }),
        Err(error @ std::env::VarError::NotUnicode(_)) => {
            Err(format!("LONGHAUL_SQS_ENDPOINT can't be used: {error}"))
        }
    }
}

#[cfg(not(feature = "sqs"))]
fn sqs() -> Result<Broker, String> {
    Err(String::from(
        "this program was built without SQS: build it with `--features sqs`",
    ))
}

fn read(path: &Path) -> anyhow::Result<Orders> {
    let open = || Orders::read(BufReader::new(File::open(path)?));
    open().with_context(|| format!("the orders in {} can't be read", path.display()))
}

/// Computes the figures and shows them. Says whether all is well.
fn show(options: &Options, plan: &Plan, orders: &Orders) -> anyhow::Result<bool> {
    let began = SystemClock.now();
    let (summary, complete) = if options.truth {
        (truth::of(&orders.orders), true)
    } else {
        let report = run::run(&orders.orders, plan)?;
        let complete = check(&report, &orders.orders, options);
        let took = SystemClock.now().since(began);
        eprintln!(
            "{} messages handled in {:.1} s",
            report.messages,
            took.as_secs_f64()
        );
        (report.summary, complete)
    };
    print!("{summary}");
    if let Some(path) = &options.json {
        std::fs::write(path, summary.to_json()?)
            .with_context(|| format!("the figures can't be written to {}", path.display()))?;
    }
    Ok(complete)
}

/// Says what is wrong with a run. Returns whether nothing is.
fn check(report: &Report, orders: &[Order], options: &Options) -> bool {
    if report.interrupted {
        let advice = match options.data {
            Some(_) => "start it again with the same --data to go on",
            None => "without --data it begins anew next time",
        };
        eprintln!("stopped before the end: the figures are those of now; {advice}");
        return false;
    }
    if report.errors > 0 {
        eprintln!(
            "{} messages are in the queue marketplace.errors, or were set aside",
            report.errors
        );
    }
    if !report.summary.adds_up() {
        eprintln!("the figures don't add up: each order must have exactly one ending");
    }
    let right = report.summary == truth::of(orders);
    if !right {
        eprintln!("the figures are not what --truth says");
    }
    right && report.errors == 0
}
