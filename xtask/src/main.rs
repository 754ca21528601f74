//! Development commands of the project: `cargo xtask help`.

mod fake_clock;
mod idle;
mod kill;
mod replay;
mod simulate;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Development commands of Longhaul.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Kill(kill::KillOptions),
    /// One of the processes that `kill` starts
    #[command(hide = true)]
    KillProcess(kill::ProcessOptions),
    DelaysUnderFakeClock(fake_clock::FakeClockOptions),
    Idle(idle::IdleOptions),
    Replay(replay::ReplayOptions),
    Simulate(simulate::SimulateOptions),
    /// The endpoint that `idle` measures
    #[command(hide = true)]
    IdleProcess(idle::IdleProcessOptions),
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !matches!(options.task, Task::IdleProcess(_)) {
        // Every message is refused on purpose.
        let is_replay = matches!(options.task, Task::Replay(_));
        write_logs(if is_replay { "off" } else { "warn" });
    }
    let passed = |passed| {
        if passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    };
    let result = match options.task {
        Task::Kill(options) => kill::run(&options).map(passed),
        Task::KillProcess(options) => kill::run_process(options).map(|()| ExitCode::SUCCESS),
        Task::DelaysUnderFakeClock(options) => fake_clock::run(&options).map(passed),
        Task::Idle(options) => idle::run(&options).map(passed),
        Task::Replay(options) => replay::run(&options).map(passed),
        Task::Simulate(options) => simulate::run(&options),
        Task::IdleProcess(options) => idle::run_process(&options).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn write_logs(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
