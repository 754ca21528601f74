//! The `longhaul` command: operates a running system.
//!
//! It holds presentation: what it shows and does is in `longhaul-ops`, over the seams of the brokers. Only what RabbitMQ alone has, its
//! delay levels, is asked for here.
//!
//! Exit codes: 0 done; 1 it could not be done, wholly or in part; 2 it was asked for wrongly, and nothing was done; 130 Ctrl-C.

mod args;
mod commands;
mod config;
mod confirm;
mod connect;
mod failure;
mod output;
mod progress;
mod select;
mod terminal;
mod units;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Command, Options};
use failure::Failure;

/// The exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => return misused(&error),
    };
    write_logs(&options);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(Box::pin(unless_interrupted(&options)));
            // Nobody waits for somebody at the terminal who may still be asked something.
            runtime.shutdown_background();
            result
        }
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

/// Does what was asked for, until Ctrl-C. Then everything is dropped where it is, which takes a bar from the terminal and gives messages
/// back that are not done.
async fn unless_interrupted(options: &Options) -> Result<ExitCode, Failure> {
    let result = tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => None,
        result = commands::run(options) => Some(result),
    };
    // Only here the bar is gone.
    result.unwrap_or_else(|| {
        eprintln!("interrupted: what is not done is where it was; run it again");
        Ok(ExitCode::from(INTERRUPTED))
    })
}

/// What clap says; it would repeat an argument that is wrong, and that may hold a password.
fn misused(error: &clap::Error) -> ExitCode {
    let secret = std::env::args().any(|argument| config::holds_password(&argument));
    if secret && error.use_stderr() {
        eprintln!("error: {}", config::PASSWORD_IN_ARGUMENTS);
    } else if let Err(error) = error.print()
        // Whoever reads may have gone.
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        eprintln!("error: {error}");
    }
    if error.use_stderr() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}

fn write_logs(options: &Options) {
    // What fails in the demonstration is meant to.
    let usual = match options.command {
        Command::Demo(_) => "off",
        _ => "error,longhaul=warn,lapin=off,sled=off",
    };
    // lapin would log messages with their bodies; what matters of it is reported by our own crates.
    let filter = EnvFilter::try_from_env("LONGHAUL_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::takes_colours(&std::io::stderr()))
        .init();
}
