//! `cargo xtask kill`: processes die at random moments while orders are placed; afterwards everything must add up.
//!
//! What "exactly once in effect" means is checked for each kind of effect on its own: a third party that takes
//! idempotency keys must have done each thing once per order, however often handlers ran; and what is committed (lists and sums
//! that are not idempotent) must show each message once.

mod accounts;
mod billing;
pub(crate) mod broker;
mod emulator;
mod evidence;
mod fleet;
mod folder;
mod ledger;
mod messages;
mod moments;
mod network;
mod orders;
mod placing;
mod process;
mod progress;
mod records;
mod report;
mod run;
mod sales;
mod shipping;
mod verdict;

use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use longhaul::clock::{Clock, SystemClock};
use longhaul::ids::{Randomness, SystemRandomness};
use tempfile::TempDir;

pub(crate) use messages::{ChargeCard, RefundCard, ShipOrder};
pub(crate) use process::{ProcessOptions, run as run_process};
pub(crate) use sales::OrderSaga;

use broker::PrivateBroker;
use emulator::PrivateEmulator;
use evidence::Evidence;
use fleet::{Fleet, Setup};
use folder::Folder;
use process::At;
use progress::Progress;
use report::Report;
use run::{Every, Run, Story};
use verdict::Verdict;

/// Kills processes while orders are placed, and checks that nothing is lost and nothing done twice.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 everything adds up; 1 it does not; 2 the check could not be made.

With --broker rabbitmq a private broker is started, unless LONGHAUL_AMQP_URL names one and no restarts are asked for. With --broker sqs \
a private emulator is started; of a hundred requests to it the answer to one is lost after it took effect, and of a hundred that send, \
five are made twice.")]
pub(crate) struct KillOptions {
    /// Where messages go
    #[arg(long, value_enum, default_value_t = BrokerName::Embedded)]
    broker: BrokerName,
    /// How many orders are placed
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..1_000_000_000))]
    orders: u64,
    /// How many times a process is killed
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Kill a process every so many seconds instead, until every order has an outcome
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..3600))]
    kill_every: Option<u64>,
    /// How many times the broker is killed and started again; with rabbitmq only
    #[arg(long, default_value_t = 0)]
    restarts: u32,
    /// Which processes are killed, and when, follows from this number; drawn if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Work in this folder, which must not exist, and keep it; a temporary one if not given
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BrokerName {
    /// In the process of the endpoints
    Embedded,
    /// RabbitMQ
    Rabbitmq,
    /// Amazon SQS, as an emulator on a bad network
    Sqs,
}

/// Runs the check. Returns whether everything adds up.
pub(crate) fn run(options: &KillOptions) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            result = check(options) => result,
            () = longhaul::stop_signal() => Err(anyhow::anyhow!("interrupted")),
        }
    })
}

#[expect(clippy::too_many_lines, reason = "one run from beginning to end")]
async fn check(options: &KillOptions) -> anyhow::Result<bool> {
    ensure!(
        options.broker == BrokerName::Rabbitmq || options.restarts == 0,
        "--restarts needs --broker rabbitmq"
    );
    let seed = options
        .seed
        .unwrap_or_else(|| SystemRandomness.next_u64() % 1_000_000);
    // Kept until the end, then removed.
    let mut temporary = None;
    let folder = match &options.data {
        Some(path) => {
            ensure!(!path.exists(), "{} exists already", path.display());
            std::fs::create_dir_all(path)?;
            Folder::new(path)
        }
        None => Folder::new(
            temporary
                .insert(tempfile::Builder::new().prefix("longhaul-kill.").tempdir()?)
                .path(),
        ),
    };
    let from_outside = std::env::var("LONGHAUL_AMQP_URL")
        .ok()
        .filter(|_| options.restarts == 0);
    let (mut broker, mut emulator) = (None, None);
    let at = match options.broker {
        BrokerName::Embedded => At::Embedded,
        BrokerName::Rabbitmq => At::RabbitMq(match from_outside {
            Some(url) => url,
            None => broker.insert(PrivateBroker::start().await?).url.clone(),
        }),
        BrokerName::Sqs => {
            let emulator = emulator.insert(PrivateEmulator::start(seed).await?);
            At::Sqs(emulator.network.url.clone())
        }
    };
    let tag = match at {
        At::Embedded => String::new(),
        At::RabbitMq(_) | At::Sqs(_) => format!("kill-{}-{seed}.", SystemClock.now().as_micros()),
    };
    let setup = Setup {
        folder: folder.clone(),
        tag: tag.clone(),
        orders: options.orders,
        at: at.clone(),
    };
    let mut run = Run {
        fleet: Fleet::new(setup),
        folder: folder.clone(),
        progress: Progress::new(folder.clone()),
        broker,
        orders: options.orders,
        kills: match options.kill_every {
            Some(_) => VecDeque::new(),
            None => moments::kills(seed, options.kills, options.orders).into(),
        },
        every: options.kill_every.map(|every| Every::new(seed, every)),
        quiet: at.quiet(),
        restarts: moments::restarts(options.restarts, options.orders).into(),
        story: Story::default(),
        since: None,
        back: None,
    };
    let ran = run.go().await;
    if ran.is_err() {
        keep(temporary.take());
    }
    ran?;
    // What is left is looked for without the network.
    let (network, at) = match &emulator {
        Some(emulator) => (Some(emulator.network.done()), At::Sqs(emulator.direct())),
        None => (None, at),
    };
    let evidence = Evidence::collect(&folder, &tag, &at)
        .await
        .context("what the run left behind can't be read")?;
    let verdict = Verdict::of(&evidence, options.orders);
    let report = Report::new(options, seed, &run, &evidence, verdict, network);
    print!("{report}");
    if let Some(path) = &options.json {
        std::fs::write(path, report.to_json()?)
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    if !report.passed {
        keep(temporary.take());
    }
    Ok(report.passed)
}

/// Leaves the folder of a run that failed to whoever wants to know why.
fn keep(folder: Option<TempDir>) {
    if let Some(folder) = folder {
        eprintln!("the folder of the run is kept: {}", folder.keep().display());
    }
}
