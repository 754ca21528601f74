//! `longhaul timeouts` and `outbox`: what an endpoint has stored.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longhaul_core::clock::{Clock, SystemClock, Timestamp};
use longhaul_ops::stored::TimeoutRow;
use serde_json::json;

use crate::connect::System;
use crate::failure::Failure;
use crate::output::{Style, Table, clipped, print, print_json, shown};
use crate::units::duration;

/// How much of a reason a line shows, in characters.
pub(super) const TEXT: usize = 60;

/// Which endpoint, and how much of it.
#[derive(Debug, Args)]
pub(crate) struct EndpointArgs {
    /// The endpoint
    #[arg(long, value_name = "NAME")]
    pub(super) endpoint: String,
    /// The most rows to show
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub(super) limit: usize,
}

/// What can be done with timeouts.
#[derive(Debug, Subcommand)]
pub(crate) enum TimeoutsCommand {
    /// List timeouts, the next one first
    #[command(after_help = "Example:\n  longhaul timeouts list --endpoint sales --data DIRECTORY")]
    List {
        #[command(flatten)]
        of: EndpointArgs,
    },
    /// Take a timeout away: it never fires
    #[command(after_help = "\
Example:
  longhaul timeouts cancel ID --endpoint sales --data DIRECTORY

The saga that asked for it no longer waits for it. A timeout on which a compensation waits can be moved only.")]
    Cancel {
        /// The timeout's id
        id: String,
        /// The endpoint
        #[arg(long, value_name = "NAME")]
        endpoint: String,
    },
    /// Give a timeout another time
    #[command(after_help = "\
Examples:
  longhaul timeouts move ID --endpoint sales --to 2026-12-24T18:00:00Z
  longhaul timeouts move ID --endpoint sales --in 2h")]
    Move {
        /// The timeout's id
        id: String,
        /// The endpoint
        #[arg(long, value_name = "NAME")]
        endpoint: String,
        /// When it is due, like 2026-12-24T18:00:00Z
        #[arg(long, value_parser = time, required_unless_present = "within")]
        to: Option<Timestamp>,
        /// How long from now it is due: 90s, 15m, 2h, 7d
        #[arg(long = "in", value_name = "TIME", value_parser = duration, conflicts_with = "to")]
        within: Option<std::time::Duration>,
    },
}

/// What can be asked about the outbox.
#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// List messages that are not sent yet; the endpoint sends them when it runs
    #[command(after_help = "Example:\n  longhaul outbox list --endpoint sales --data DIRECTORY")]
    List {
        #[command(flatten)]
        of: EndpointArgs,
    },
    /// Send what is left, as the endpoint would if it ran
    #[command(after_help = "\
Examples:
  longhaul outbox flush --endpoint sales --data /var/lib/sales --dry-run
  longhaul outbox flush --endpoint sales --data /var/lib/sales --broker rabbitmq     an embedded store, and RabbitMQ

The endpoint must not be running. A message is noted as sent once the broker has confirmed it: ended at any moment nothing is lost; run
again, what was sent twice has the same id and takes effect once. Timeouts stay, and so do messages that are set aside, or due later
than the broker can keep them.")]
    Flush(super::outbox::FlushArgs),
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}

/// `longhaul timeouts`
pub(crate) async fn timeouts(
    system: &System,
    command: &TimeoutsCommand,
    json: bool,
) -> Result<ExitCode, Failure> {
    match command {
        TimeoutsCommand::List { of } => {
            let rows = system.stored(&of.endpoint).await?.timeouts(of.limit).await?;
            if json {
                print_json(&json!({ "timeouts": rows }))?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new(&["DUE", "ID", "NAME", "OF", "SET ASIDE"]);
            for row in &rows {
                table.row(vec![
                    due(row.due),
                    row.id.clone(),
                    shown(&row.name),
                    shown(row.owner.as_deref().unwrap_or("-")),
                    clipped(&shown(row.parked.as_deref().unwrap_or("-")), TEXT),
                ]);
            }
            told(&table, rows.is_empty(), "no timeout waits\n")
        }
        TimeoutsCommand::Cancel { id, endpoint } => {
            let row = system.stored(endpoint).await?.cancel_timeout(id).await?;
            changed(&row, "cancelled", json)
        }
        TimeoutsCommand::Move {
            id,
            endpoint,
            to,
            within,
        } => {
            let now = SystemClock.now();
            let due = to.unwrap_or_else(|| now + within.unwrap_or_default());
            let row = system.stored(endpoint).await?.move_timeout(id, due).await?;
            changed(&row, "moved", json)
        }
    }
}

fn changed(row: &TimeoutRow, what: &str, json: bool) -> Result<ExitCode, Failure> {
    if let Some(note) = &row.note {
        eprintln!(
            "note: only the timeout itself was changed: failed to {}",
            shown(note)
        );
    }
    if json {
        print_json(&json!({ what: row }))?;
    } else {
        print(&format!(
            "{what} {} ({}, due {})\n",
            row.id,
            shown(&row.name),
            due(row.due)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `longhaul outbox`
pub(crate) async fn outbox(
    system: &System,
    command: &OutboxCommand,
    json: bool,
) -> Result<ExitCode, Failure> {
    let of = match command {
        OutboxCommand::List { of } => of,
        OutboxCommand::Flush(args) => return super::outbox::flush(system, args, json).await,
    };
    let rows = system.stored(&of.endpoint).await?.outbox(of.limit).await?;
    if json {
        print_json(&json!({ "outbox": rows }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["ID", "TYPE", "TO", "DUE", "SET ASIDE"]);
    for row in &rows {
        table.row(vec![
            row.id.clone(),
            shown(&row.type_name),
            shown(&row.to),
            due(row.due),
            clipped(&shown(row.parked.as_deref().unwrap_or("-")), TEXT),
        ]);
    }
    told(&table, rows.is_empty(), "everything is sent\n")
}

fn due(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "now".to_owned(), |at| at.to_string())
}

pub(super) fn told(table: &Table, is_empty: bool, nothing: &str) -> Result<ExitCode, Failure> {
    if is_empty {
        print(nothing)?;
    } else {
        print(&table.render(Style::of_stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}
