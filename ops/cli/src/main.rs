//! The `longhaul` command: operates a running system.
//!
//! It holds presentation only: what it shows and does is in `longhaul-ops`, over the seams of the brokers.
//!
//! Exit codes: 0 done; 1 it could not be done, wholly or in part; 2 it was asked for wrongly, and nothing was done.

mod args;
mod commands;
mod config;
mod confirm;
mod connect;
mod failure;
mod output;
mod progress;
mod select;
mod units;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::Options;
use failure::Failure;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => return misused(&error),
    };
    write_logs();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(commands::run(&options))),
        Err(error) => Err(Failure::failed(format!("start: {error}"))),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.code()
        }
    }
}

/// What clap says; it would repeat an argument that is wrong, and that may hold a password.
fn misused(error: &clap::Error) -> ExitCode {
    let secret = std::env::args().any(|argument| config::holds_password(&argument));
    if secret && error.use_stderr() {
        eprintln!("error: {}", config::PASSWORD_IN_ARGUMENTS);
    } else if let Err(error) = error.print() {
        eprintln!("error: {error}");
    }
    if error.use_stderr() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}

fn write_logs() {
    // lapin would log messages with their bodies; what matters of it is reported by our own crates.
    let filter = EnvFilter::try_from_env("LONGHAUL_LOG")
        .unwrap_or_else(|_| EnvFilter::new("error,longhaul=warn,lapin=off,sled=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
