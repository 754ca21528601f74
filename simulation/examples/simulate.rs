//! Runs Longhaul's own systems through very many schedules: `cargo xtask simulate --help`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use longhaul_simulation::{
    CrashPoint, Explored, FaultKind, Faults, Simulation, Summary, run_in_parallel, systems,
};
use serde_json::json;

/// A third of a schedule is spent in the allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs Longhaul's own systems through very many schedules of crashes, duplicates, races and failing calls.
///
/// Each seed stands for one system, one broker and one mix of faults. Without a limit, 20,000 schedules are run.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask simulate", bin_name = "cargo xtask simulate")]
struct Options {
    /// How many schedules to run
    #[arg(long, conflicts_with_all = ["minutes", "seed"])]
    schedules: Option<u64>,
    /// How long to run, instead of so many schedules
    #[arg(long, conflicts_with = "seed")]
    minutes: Option<u64>,
    /// Run this seed only
    #[arg(long)]
    seed: Option<u64>,
    /// Instead, run one message with two outputs through every pair of faults
    #[arg(long, conflicts_with_all = ["schedules", "minutes", "seed", "json"])]
    pairs: bool,
    /// On a broker like the FIFO queues of Amazon SQS, whatever the seed says
    #[arg(long, conflicts_with = "pairs")]
    fifo: bool,
    /// The seed to begin with
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// How many schedules run at once; as many as there are cores if it is not said
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Write a report to this file
    #[arg(long, conflicts_with = "seed")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.seed {
        Some(seed) => Ok(run_one(options.system(seed), seed)),
        None if options.pairs => Ok(run_pairs()),
        None => run_many(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

impl Options {
    fn system(&self, seed: u64) -> (String, Simulation) {
        match self.fifo {
            true => systems::of_seed_in_order(seed),
            false => systems::of_seed(seed),
        }
    }
}

fn run_one((name, system): (String, Simulation), seed: u64) -> bool {
    match system.run_seed(seed) {
        Ok(summary) => {
            let (messages, faults) = (summary.messages, summary.faults);
            println!("{name}, seed {seed}: nothing broke; {messages} messages, {faults} faults");
            true
        }
        Err(failure) => {
            println!("{name}:\n{failure}");
            false
        }
    }
}

/// Every pair of faults at every pair of places, on both brokers; and, of these, every pair of ends of processes.
fn run_pairs() -> bool {
    let crashes = Faults::none().with(FaultKind::Crash);
    for (name, faults) in [
        ("ends of processes", crashes),
        ("faults of all kinds", Faults::all()),
    ] {
        let shown = |explored: &Explored| {
            let done = explored.singles + explored.pairs;
            if done.is_multiple_of(1000) && std::io::stderr().is_terminal() {
                eprint!("\r\x1b[K{name}: {done} schedules");
            }
        };
        match systems::one_message().faults(faults).explore(2, shown) {
            Ok(explored) => tell_explored(name, &explored),
            Err(failure) => {
                println!("{name}:\n{failure}");
                return false;
            }
        }
    }
    true
}

/// How many schedules there were, and which points of the runtime were passed in them: a process can end at no other.
fn tell_explored(name: &str, explored: &Explored) {
    let Explored {
        places,
        singles,
        pairs,
        quiet,
        ..
    } = explored;
    println!("{name}: {places} places, {singles} schedules with one, {pairs} with two: nothing broke");
    let passed = explored.passed();
    let by_faults: Vec<_> = passed.difference(quiet).collect();
    let never: Vec<_> = CrashPoint::ALL
        .into_iter()
        .filter(|point| !passed.contains(point))
        .collect();
    let all = CrashPoint::ALL.len();
    println!(
        "  {} of {all} points are passed when nothing goes wrong: {quiet:?}",
        quiet.len()
    );
    println!("  {} more when something does: {by_faults:?}", by_faults.len());
    println!("  {} never: {never:?}", never.len());
    println!(
        "  a process ended at {} sides of the {}",
        explored.ends(),
        passed.len()
    );
}

/// What is known so far, and when it was shown last.
#[derive(Default)]
struct Progress {
    total: Summary,
    shown: Duration,
}

#[expect(clippy::disallowed_methods, reason = "how long it takes in the world outside")]
fn run_many(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let began = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = options.threads.map_or(cores, usize::from);
    let limit = options
        .minutes
        .map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
    let count = match limit {
        Some(_) => u64::MAX,
        None => options.schedules.unwrap_or(20_000),
    };
    let progress = Mutex::new(Progress::default());
    let tell = |one: &Summary| {
        let passed = began.elapsed();
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.total.add(one);
        if passed - progress.shown >= between_lines() {
            progress.shown = passed;
            show(&progress.total, passed);
        }
        limit.is_none_or(|limit| passed < limit)
    };
    let seeds = options.from..options.from.saturating_add(count);
    let result = run_in_parallel(seeds, threads, |seed| options.system(seed), tell);
    let total = progress
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .total;
    let passed = began.elapsed();
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    println!("{}", line(&total, passed));
    for point in total.points.iter().filter(|point| point.crashed == 0) {
        println!(
            "never ended {:?} {:?} (passed {} times)",
            point.moment, point.point, point.passed
        );
    }
    if let Some(path) = &options.json {
        let failure = result
            .as_ref()
            .err()
            .map(|(name, failure)| format!("{name}:\n{failure}"));
        let report = report(&total, passed, threads, failure.as_deref());
        std::fs::write(path, serde_json::to_string_pretty(&report)?)
            .map_err(|error| format!("the report can't be written to {}: {error}", path.display()))?;
    }
    match result {
        Ok(()) => {
            println!("nothing broke");
            Ok(true)
        }
        Err((name, failure)) => {
            println!("\n{name}:\n{failure}");
            Ok(false)
        }
    }
}

/// On a terminal one line that changes; else a line from time to time.
fn between_lines() -> Duration {
    Duration::from_secs(if std::io::stderr().is_terminal() { 1 } else { 30 })
}

fn show(total: &Summary, passed: Duration) {
    let mut out = std::io::stderr().lock();
    let (begin, end) = if out.is_terminal() {
        ("\r\x1b[K", "")
    } else {
        ("", "\n")
    };
    // A progress line that can't be written is no reason to stop.
    write!(out, "{begin}{}{end}", line(total, passed)).unwrap_or_default();
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

fn report(total: &Summary, passed: Duration, threads: usize, failure: Option<&str>) -> serde_json::Value {
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
