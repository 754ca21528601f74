//! `cargo xtask idle`: what an endpoint on RabbitMQ uses while nothing happens, and how soon it is ready.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use longhaul::clock::Timestamp;
use longhaul::prelude::*;
use longhaul::rabbitmq::RabbitMq;
use longhaul::sagas::SagaEndpoint;
use longhaul::sled::Sled;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::kill::broker::PrivateBroker;
use crate::kill::{ChargeCard, OrderSaga, RefundCard, ShipOrder};

/// The limits that the figures are held to.
const RSS_LIMIT_KIB: u64 = 25 * 1024;
const CPU_LIMIT_PERCENT: f64 = 1.0;
const READY_LIMIT_MS: f64 = 200.0;

const READY: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// `CLK_TCK`: fixed by Linux for what it tells programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Measures an idle endpoint on RabbitMQ: memory, processor time, and the time from its start until it is ready.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 within the limits; 1 not; 2 it could not be measured. Use --release for figures that mean something.")]
pub(crate) struct IdleOptions {
    /// How many seconds it is watched
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct IdleProcessOptions {
    #[arg(long)]
    folder: PathBuf,
}

/// How an endpoint became ready, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Start {
    /// From the first line of the program until it consumes.
    wall: f64,
    /// Of that, in calls that wait for the broker: connect, declare, consume.
    in_broker_calls: f64,
    /// Processor time of all threads until then.
    cpu: f64,
}

impl Start {
    /// What it took besides waiting: at most all that was not in calls to the broker, and all the processor time.
    const fn own(&self) -> f64 {
        self.wall - self.in_broker_calls + self.cpu
    }
}

/// Measures. Returns whether the limits are kept.
pub(crate) fn run(options: &IdleOptions) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &IdleOptions) -> anyhow::Result<bool> {
    let folder = tempfile::Builder::new().prefix("longhaul-idle.").tempdir()?;
    let broker = PrivateBroker::start().await?;
    // The first start creates queues and database; a restart is what is measured.
    let mut child = start(folder.path(), &broker.url).await?;
    child.kill().await?;
    fs::remove_file(folder.path().join("ready"))?;
    let mut child = start(folder.path(), &broker.url).await?;
    let start: Start = serde_json::from_slice(&fs::read(folder.path().join("ready"))?)?;
    let process = PathBuf::from(format!("/proc/{}", child.id().context("the endpoint is gone")?));
    let before = ticks(&process)?;
    let seconds = Duration::from_secs(options.seconds);
    tokio::time::sleep(seconds).await;
    let used = (ticks(&process)? - before) / TICKS_PER_SECOND;
    let cpu_percent = 100.0 * used / seconds.as_secs_f64();
    let (rss, peak) = (kib(&process, "VmRSS:")?, kib(&process, "VmHWM:")?);
    child.kill().await?;

    let passed = rss < RSS_LIMIT_KIB && cpu_percent < CPU_LIMIT_PERCENT && start.own() < READY_LIMIT_MS;
    println!("resident memory    {rss} KiB (at most {peak} KiB since the start; limit {RSS_LIMIT_KIB})");
    println!(
        "processor          {cpu_percent:.2} % of a core over {} s (limit {CPU_LIMIT_PERCENT} %)",
        options.seconds
    );
    println!(
        "start to ready     {:.0} ms, of which {:.0} ms in calls that wait for the broker; {:.0} ms of processor time",
        start.wall, start.in_broker_calls, start.cpu
    );
    println!(
        "besides the broker {:.0} ms at most (limit {READY_LIMIT_MS} ms)",
        start.own()
    );
    println!("{}", if passed { "passed" } else { "FAILED" });
    if let Some(path) = &options.json {
        let figures = serde_json::json!({
            "passed": passed,
            "rss_kib": rss,
            "peak_rss_kib": peak,
            "cpu_percent": cpu_percent,
            "seconds": options.seconds,
            "start_ms": start,
            "start_besides_broker_ms": start.own(),
        });
        fs::write(path, serde_json::to_string_pretty(&figures)? + "\n")?;
    }
    Ok(passed)
}

async fn start(folder: &Path, url: &str) -> anyhow::Result<tokio::process::Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["idle-process", "--folder"])
        .arg(folder)
        .env("LONGHAUL_AMQP_URL", url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let ready = folder.join("ready");
    let wait = async {
        while !ready.exists() {
            ensure!(child.try_wait()?.is_none(), "the endpoint ended by itself");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    };
    tokio::time::timeout(READY, wait)
        .await
        .context("the endpoint does not become ready")??;
    Ok(child)
}

/// Runs the endpoint that is measured.
pub(crate) fn run_process(options: &IdleProcessOptions) -> anyhow::Result<()> {
    let began = SystemClock.now();
    let watch = Watch::default();
    let writer = watch.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let sled = Sled::open(options.folder.join("data"))?;
    let url = std::env::var("LONGHAUL_AMQP_URL").context("LONGHAUL_AMQP_URL is not set")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let asked = SystemClock.now();
        let endpoint = Endpoint::builder("sales")
            .transport(RabbitMq::connect(&url).await?)
            .persistence(sled)
            .saga::<OrderSaga>()
            .route::<ChargeCard>("billing")
            .route::<RefundCard>("billing")
            .route::<ShipOrder>("shipping")
            .build()
            .await?;
        let report = async {
            let ready = loop {
                if let Some(ready) = watch.ready() {
                    break ready;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            let start = Start {
                wall: ms(ready.since(began)),
                in_broker_calls: ms(ready.since(asked)),
                cpu: cpu_ms()?,
            };
            let draft = options.folder.join("ready.draft");
            fs::write(&draft, serde_json::to_vec(&start)?)?;
            fs::rename(draft, options.folder.join("ready"))?;
            std::future::pending::<anyhow::Result<()>>().await
        };
        tokio::select! {
            ended = endpoint.run_until(longhaul::stop_signal()) => Ok(ended?),
            reported = report => reported,
        }
    })
}

/// Reads the log of its own process, for when the endpoint says that it is ready.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<Mutex<Option<Timestamp>>>);

impl Watch {
    fn ready(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Watch {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if String::from_utf8_lossy(line).contains("the endpoint is ready") {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemClock.now());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The processor time of all threads of this process.
fn cpu_ms() -> anyhow::Result<f64> {
    let mut nanos = 0.0;
    for thread in fs::read_dir("/proc/self/task")? {
        let figures = fs::read_to_string(thread?.path().join("schedstat"))?;
        let spent: f64 = figures
            .split_whitespace()
            .next()
            .context("schedstat is empty")?
            .parse()?;
        nanos += spent;
    }
    Ok(nanos / 1e6)
}

/// The processor time of a process in ticks, its own and the kernel's for it.
fn ticks(process: &Path) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(process.join("stat"))?;
    // The second field is the name in brackets and may hold spaces.
    let (_, rest) = stat.rsplit_once(") ").context("stat has another form")?;
    let mut spent = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    match (spent.next(), spent.next()) {
        (Some(own), Some(kernel)) => Ok(own? + kernel?),
        _ => anyhow::bail!("stat has another form"),
    }
}

fn kib(process: &Path, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(process.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let figure = line
        .and_then(|line| line.split_whitespace().next())
        .with_context(|| format!("no {name} in status"))?;
    Ok(figure.parse()?)
}
