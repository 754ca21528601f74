//! `simulate`: the simulator is a program of its own, since a build with its features would be another one for all commands.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::Args;

/// Runs Longhaul's own systems through very many schedules of what can go wrong
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct SimulateOptions {
    /// What the simulator is to do; `--help` for its own help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    arguments: Vec<OsString>,
}

/// Builds the simulator and runs it; returns its exit code.
pub(crate) fn run(options: &SimulateOptions) -> anyhow::Result<ExitCode> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "run",
            "--profile",
            "simulate",
            "--quiet",
            "--package",
            "longhaul-simulation",
        ])
        .args(["--example", "simulate", "--"])
        .args(&options.arguments)
        .status()
        .context("cargo can't be run")?;
    // Ended by a signal, it has none.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::from(2), ExitCode::from))
}
