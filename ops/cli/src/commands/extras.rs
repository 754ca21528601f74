//! Queues, completions and the manual.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Subcommand};
use longhaul_core::address::Address;
use longhaul_ops::queues;
use serde_json::json;

use crate::args::Options;
use crate::connect::System;
use crate::failure::Failure;
use crate::output::{Style, Table, print, print_json, shown};

/// What can be asked about queues.
#[derive(Debug, Subcommand)]
pub(crate) enum QueuesCommand {
    /// How many messages wait in each queue. RabbitMQ does not tell which there are: name them
    #[command(after_help = "Example:\n  longhaul queues list sales billing error")]
    List {
        /// Queues by name; if none, those that the broker tells of, or else the error queue
        names: Vec<String>,
    },
}

/// Shows how deep queues are.
pub(crate) async fn depths(
    system: &System,
    command: &QueuesCommand,
    json: bool,
) -> Result<ExitCode, Failure> {
    let QueuesCommand::List { names } = command;
    let mut wanted = Vec::new();
    for name in names {
        wanted.push(Address::new(name).map_err(|error| Failure::misused(error.to_string()))?);
    }
    let found = queues::list(&*system.admin, wanted, &system.error_queue).await?;
    let mut table = Table::new(&["QUEUE", "READY", "UNSETTLED", "DELAYED", "CONSUMERS"]);
    let (mut rows, mut missing) = (Vec::new(), 0_u32);
    let cell = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for row in found {
        match row {
            Ok(row) => {
                table.row(vec![
                    shown(row.queue.as_str()),
                    row.ready.to_string(),
                    cell(row.unsettled),
                    cell(row.delayed),
                    cell(row.consumers),
                ]);
                rows.push(row);
            }
            Err(error) => {
                missing += 1;
                eprintln!("error: failed to {error}");
            }
        }
    }
    if json {
        print_json(&json!({ "queues": rows }))?;
    } else {
        print(&table.render(Style::of_stdout()))?;
    }
    Ok(ExitCode::from(u8::from(missing > 0)))
}

/// Prints a completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Options::command(), "longhaul", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the manual.
pub(crate) fn man(directory: &Path) -> Result<ExitCode, Failure> {
    if !fs::metadata(directory).is_ok_and(|found| found.is_dir()) {
        let text = format!("{} is not a directory: make it first", directory.display());
        return Err(Failure::misused(text));
    }
    clap_mangen::generate_to(Options::command(), directory)
        .map_err(|error| Failure::failed(format!("write the manual to {}: {error}", directory.display())))?;
    Ok(ExitCode::SUCCESS)
}
