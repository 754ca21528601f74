//! Runs Longhaul's own systems through very many schedules: `cargo xtask simulate --help`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;
use longhaul_simulation::{Simulation, Summary, run_in_parallel, systems};
use serde_json::json;

/// A third of a schedule is spent in the allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs Longhaul's own systems through very many schedules of crashes, duplicates, races and failing calls.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask simulate", bin_name = "cargo xtask simulate")]
struct Options {
    /// How many schedules to run
    #[arg(long, default_value_t = 20_000, conflicts_with_all = ["minutes", "seed"])]
    schedules: u64,
    /// How long to run, instead of so many schedules
    #[arg(long, conflicts_with = "seed")]
    minutes: Option<u64>,
    /// Runs one seed only, of the systems of that size
    #[arg(long, requires = "orders")]
    seed: Option<u64>,
    /// Orders in each schedule; from 1 to 10 by turns if it is not said
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    orders: Option<u64>,
    /// The seed to begin with
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many schedules run at once
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=256))]
    threads: Option<u64>,
    /// Writes a report to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// What is known so far, and when it was shown last.
struct Progress {
    total: Summary,
    shown: Duration,
}

#[expect(clippy::disallowed_methods, reason = "how long it takes in the world outside")]
fn run(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let began = Instant::now();
    if let (Some(seed), Some(orders)) = (options.seed, options.orders) {
        return Ok(match systems::orders(orders).run_seed(seed) {
            Ok(summary) => {
                println!("seed {seed}: nothing broke, {} messages, {} faults", summary.messages, summary.faults);
                true
            }
            Err(failure) => {
                println!("{failure}");
                false
            }
        });
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = options.threads.map_or(Ok(cores), usize::try_from)?;
    let sizes: Vec<u64> = options.orders.map_or_else(|| (1..=10).collect(), |orders| vec![orders]);
    let limit = options.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let progress = Mutex::new(Progress {
        total: Summary::default(),
        shown: Duration::ZERO,
    });
    let mut failed = None;
    let mut from = options.from;
    // Each system gets its share, a thousand seeds at a time.
    'all: while failed.is_none() {
        for size in &sizes {
            let done = progress.lock().map_or(0, |progress| progress.total.schedules);
            let left = options.schedules.saturating_sub(done);
            let share = if limit.is_some() { 1000 } else { left.min(1000) };
            if share == 0 || limit.is_some_and(|limit| began.elapsed() >= limit) {
                break 'all;
            }
            let system: Simulation = systems::orders(*size);
            let tell = |one: &Summary| {
                if let Ok(mut progress) = progress.lock() {
                    progress.total.add(one);
                    let passed = began.elapsed();
                    if passed - progress.shown >= Duration::from_secs(1) {
                        progress.shown = passed;
                        show(&progress.total, passed);
                    }
                }
                limit.is_none_or(|limit| began.elapsed() < limit)
            };
            if let Err(failure) = run_in_parallel(&system, from..from + share, threads, tell) {
                failed = Some((*size, failure));
                break 'all;
            }
            from += share;
        }
    }
    let total = progress.into_inner().map_err(|_| "a schedule panicked")?.total;
    let passed = began.elapsed();
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    println!("{}", line(&total, passed));
    for point in total.points.iter().filter(|point| point.crashed == 0) {
        println!("never ended {:?} {:?} (passed {} times)", point.moment, point.point, point.passed);
    }
    if let Some(path) = &options.json {
        let report = report(&total, passed, threads, failed.as_ref().map(|(_, failure)| failure.to_string()));
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    let Some((size, failure)) = failed else {
        println!("nothing broke");
        return Ok(true);
    };
    println!("\nin the system of {size} orders:\n{failure}");
    Ok(false)
}

fn show(total: &Summary, passed: Duration) {
    let mut out = std::io::stderr().lock();
    let is_terminal = out.is_terminal();
    // On a terminal one line that changes; else one line in ten seconds.
    if is_terminal || passed.as_secs() % 10 == 0 {
        let (begin, end) = if is_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        // A progress line that can't be written is no reason to stop.
        write!(out, "{begin}{}{end}", line(total, passed)).unwrap_or_default();
    }
}

fn line(total: &Summary, passed: Duration) -> String {
    let seconds = passed.as_secs_f64().max(0.001);
    let (reached, ended, all) = points(total);
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    let (schedules, messages) = (total.schedules as f64 / seconds, total.messages as f64 / seconds);
    format!(
        "{} schedules in {seconds:.0} s ({schedules:.0}/s), {} messages ({messages:.0}/s), {} faults, {:.1} virtual years, \
         points passed {reached} and ended at {ended} of {all}",
        total.schedules,
        total.messages,
        total.faults,
        total.virtual_time.as_secs_f64() / 31_557_600.0
    )
}

/// How many points were passed, how many ended a process, and how many there are: each before and after.
fn points(total: &Summary) -> (usize, usize, usize) {
    let passed = total.points.iter().filter(|point| point.passed > 0);
    let crashed = total.points.iter().filter(|point| point.crashed > 0);
    (passed.count(), crashed.count(), total.points.len())
}

fn report(total: &Summary, passed: Duration, threads: usize, failure: Option<String>) -> serde_json::Value {
    let points = total.points.iter().map(|point| {
        json!({
            "point": format!("{:?}", point.point),
            "moment": format!("{:?}", point.moment),
            "passed": point.passed,
            "ended": point.crashed,
        })
    });
    json!({
        "schedules": total.schedules,
        "messages": total.messages,
        "faults": total.faults,
        "virtual_seconds": total.virtual_time.as_secs(),
        "seconds": passed.as_secs_f64(),
        "threads": threads,
        "points": points.collect::<Vec<_>>(),
        "failure": failure,
    })
}
