//! `longhaul delays import`: drained messages, back to a broker.

use std::io::{BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use longhaul_ops::delays;
use serde_json::json;

use crate::commands::errors::files::opened;
use crate::commands::errors::{TornArgs, tell};
use crate::connect::System;
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::progress::Bar;

/// `longhaul delays import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What `longhaul delays drain` has written
    file: PathBuf,
    #[command(flatten)]
    torn: TornArgs,
    /// Check the file, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is wrong without asking any broker.
pub(super) fn checked(args: &ImportArgs) -> Result<(), Failure> {
    opened(&args.file).map(drop)
}

pub(super) async fn run(system: &System, args: &ImportArgs, json: bool) -> Result<ExitCode, Failure> {
    let last = args.torn.last_line();
    let mut file = opened(&args.file)?;
    // All of it is read before anything is sent.
    let messages = delays::check_import(&mut BufReader::new(&mut file), last)?;
    if args.dry_run {
        if json {
            print_json(&json!({ "dry_run": true, "messages": messages }))?;
        } else {
            print(&format!("would import {messages} messages\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    file.seek(SeekFrom::Start(0))
        .map_err(|error| Failure::misused(format!("{}: {error}", args.file.display())))?;
    let bar = Bar::new("importing");
    let mut told = |progress| bar.show(progress);
    let mut source = BufReader::new(file);
    let imported = delays::import(&mut source, last, &*system.transport, messages, &mut told).await;
    drop(bar);
    tell(&imported?, "imported", json)
}
