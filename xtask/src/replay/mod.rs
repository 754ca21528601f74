//! `cargo xtask replay`: many failed messages on RabbitMQ, replayed with the `longhaul` command, which dies at random moments.
//!
//! A real endpoint refuses every message first, so that they fail as messages do. Its ledger has no unique keys: what is done
//! twice stands there twice.

mod command;
mod gateway;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use longhaul::address::Address;
use longhaul::admin::QueueAdmin;
use longhaul::clock::{Clock, SystemClock};
use longhaul::endpoint::Endpoint;
use longhaul::ids::{Randomness, SeededRandomness, SystemRandomness};
use longhaul::memory::Memory;
use longhaul::rabbitmq::RabbitMq;

use crate::kill::broker::PrivateBroker;
use command::Longhaul;
use gateway::{ChargeCard, Charging, Gateway, fill};
use report::Report;

/// How long the endpoint may take to work through everything.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long until something is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often it is replayed once more after the last kill, at most.
const MOST_REPLAYS: u32 = 100;
/// What a page for people may take.
const FIRST_PAGE: Duration = Duration::from_secs(2);
/// What the command may take of memory, in MiB.
const MEMORY: f64 = 60.0;

/// Replays many failed messages with a command that is killed, and checks that each is done once.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 everything holds; 1 it does not; 2 the check could not be made.

The command is built optimized, unless --debug is given. The endpoint beside it is built as this program is: for figures, run

  cargo run --release --package xtask -- replay

A private broker is started, unless LONGHAUL_AMQP_URL names one.")]
pub(crate) struct ReplayOptions {
    /// How many messages fail
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..10_000_000))]
    messages: u64,
    /// How many times the command is killed
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// When it is killed follows from this number; drawn if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Measure an unoptimized build of the command
    #[arg(long)]
    debug: bool,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the check. Returns whether everything holds.
pub(crate) fn run(options: &ReplayOptions) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            result = check(options) => result,
            () = longhaul::stop_signal() => Err(anyhow::anyhow!("interrupted")),
        }
    })
}

async fn check(options: &ReplayOptions) -> anyhow::Result<bool> {
    let program = command::build(options.debug).await?;
    let (_broker, url) = match std::env::var("LONGHAUL_AMQP_URL") {
        Ok(url) => (None, url),
        Err(_) => {
            let broker = PrivateBroker::start().await?;
            let url = broker.url.clone();
            (Some(broker), url)
        }
    };
    let seed = options
        .seed
        .unwrap_or_else(|| SystemRandomness.next_u64() % 1_000_000);
    let name = format!("replay-{}-{seed}", SystemClock.now().as_micros());
    let (source, errors) = (format!("{name}.billing"), format!("{name}.error"));
    let gateway = Gateway::new();
    let endpoint = Endpoint::builder(source.as_str())
        .transport(RabbitMq::connect(&url).await?)
        .persistence(Memory::new())
        .error_queue(errors.as_str())
        .handler::<ChargeCard>(Charging(Arc::clone(&gateway)))
        .build()
        .await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(endpoint.run_until(async {
        // Told, or forgotten because the check failed: both end it.
        drop(stopped.await);
    }));
    let stage = Stage {
        admin: RabbitMq::connect(&url).await?,
        source: Address::new(&source)?,
        errors: Address::new(&errors)?,
        gateway,
        command: Longhaul::new(program, url, errors),
    };
    let report = stage.measure(options, seed).await;
    drop(stop);
    running.await?.context("the endpoint failed")?;
    let report = report?;
    print!("{report}");
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(report.passed)
}

/// The system and the command beside it.
struct Stage {
    admin: RabbitMq,
    source: Address,
    errors: Address,
    gateway: Arc<Gateway>,
    command: Longhaul,
}

impl Stage {
    async fn measure(&self, options: &ReplayOptions, seed: u64) -> anyhow::Result<Report> {
        let messages = options.messages;
        fill(&self.admin, &self.source, messages).await?;
        self.wait_for_failures(messages).await?;

        let list = self
            .command
            .run(&["errors", "list", "--limit", "50", "--json"])
            .await?;
        let listed: serde_json::Value = serde_json::from_str(&list.out)?;
        let group = self.command.run(&["errors", "group", "--json"]).await?;
        let grouped: serde_json::Value = serde_json::from_str(&group.out)?;
        // Refused once more, all of them come back.
        let replay = self.replay().await?;
        self.wait_for_failures(messages).await?;

        self.gateway.accept();
        let (kills, midway) = self.replay_and_kill(options, seed, &replay.took).await?;
        let last = self.replay().await?;
        self.replay_what_comes_back(messages).await?;
        self.wait_for_the_end(messages).await?;
        let ledger = self.gateway.verdict(messages);
        let left = self.admin.depth(&self.errors).await?.ready;
        let peak = [&list, &group, &replay, &last].map(|ran| ran.peak_mib);
        let peak = peak.into_iter().fold(0.0, f64::max);
        let groups = grouped["groups"].as_array().map_or(0, Vec::len);
        let passed = list.took < FIRST_PAGE
            && listed["messages"].as_array().map_or(0, Vec::len) == usize::try_from(messages.min(50))?
            && grouped["messages"].as_u64() == Some(messages)
            && peak < MEMORY
            && ledger.lost == 0
            && ledger.doubled == 0
            && left == 0;
        Ok(Report {
            messages,
            seed,
            is_debug: options.debug,
            is_endpoint_debug: cfg!(debug_assertions),
            first_page_seconds: list.took.as_secs_f64(),
            group_seconds: group.took.as_secs_f64(),
            groups,
            replay_seconds: replay.took.as_secs_f64(),
            replay_per_second: per_second(messages, replay.took),
            peak_mib: peak,
            kills,
            killed_midway: midway,
            attempts: ledger.attempts,
            done: ledger.done,
            lost: ledger.lost,
            doubled: ledger.doubled,
            left,
            passed,
        })
    }

    async fn replay(&self) -> anyhow::Result<command::Ran> {
        self.command
            .run(&["errors", "replay", "--all", "--yes", "--json"])
            .await
    }

    /// What a process held that was killed comes back a little after it, so there may be something to replay once more. What is lost or
    /// left in the end is told by the figures.
    async fn replay_what_comes_back(&self, messages: u64) -> anyhow::Result<()> {
        for _ in 0..MOST_REPLAYS {
            let again = self.replay().await?;
            let outcome: serde_json::Value = serde_json::from_str(&again.out)?;
            let left = self.admin.depth(&self.errors).await?.ready;
            if outcome["seen"] == 0 && left == 0 && self.gateway.verdict(messages).lost == 0 {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// How often it was killed, and how often of these before its end.
    async fn replay_and_kill(
        &self,
        options: &ReplayOptions,
        seed: u64,
        whole: &Duration,
    ) -> anyhow::Result<(u32, u32)> {
        let (kills, messages) = (options.kills, options.messages);
        let moments = SeededRandomness::new(seed);
        let mut midway = 0;
        // At half the speed there is something left to do at each moment.
        let rate = (u128::from(messages) * 500 / whole.as_millis().max(1))
            .max(1)
            .to_string();
        for _ in 0..kills {
            // Later than its start, and so early that there is something left for the next one.
            let most = (whole.as_millis() / u128::from(kills)).max(200);
            let moment = u128::from(moments.next_u64()) % (2 * most) + 20;
            let moment = Duration::from_millis(u64::try_from(moment)?);
            let arguments = ["errors", "replay", "--all", "--yes", "--rate", &rate];
            midway += u32::from(self.command.run_and_kill(&arguments, moment).await?);
        }
        Ok((kills, midway))
    }

    async fn wait_for_failures(&self, messages: u64) -> anyhow::Result<()> {
        self.wait("all messages are in the error queue", async || {
            Ok(self.admin.depth(&self.errors).await?.ready == messages)
        })
        .await
    }

    /// The endpoint has nothing left to do: a message that comes last is done.
    async fn wait_for_the_end(&self, messages: u64) -> anyhow::Result<()> {
        gateway::send(&self.admin, &self.source, messages..messages + 1).await?;
        self.wait("the endpoint has done all of it", async || {
            Ok(self.gateway.has(messages) && self.admin.depth(&self.source).await?.ready == 0)
        })
        .await
    }

    async fn wait(
        &self,
        what: &str,
        mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        #[expect(
            clippy::disallowed_methods,
            reason = "limits how long the check itself may wait"
        )]
        let since = Instant::now();
        while !holds().await? {
            ensure!(since.elapsed() < PATIENCE, "it did not come to this: {what}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

fn per_second(messages: u64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let messages = messages as f64;
    messages / took.as_secs_f64()
}
