//! `longhaul sagas`, `timeouts` and `outbox`: what an endpoint has stored.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longhaul_core::clock::{Clock, SystemClock, Timestamp};
use longhaul_ops::stored::TimeoutRow;
use longhaul_sagas::{Instance, Status};
use serde_json::{Value, json};

use crate::connect::System;
use crate::failure::Failure;
use crate::output::{Style, Table, clipped, print, print_json, shown};
use crate::units::{ago, duration};

/// How much of a reason a line shows, in characters.
const TEXT: usize = 60;

/// Which endpoint, and how much of it.
#[derive(Debug, Args)]
pub(crate) struct EndpointArgs {
    /// The endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    /// The most rows to show
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
}

/// What can be asked about sagas.
#[derive(Debug, Subcommand)]
pub(crate) enum SagasCommand {
    /// List the instances of a saga by id
    #[command(
        after_help = "Example:\n  longhaul sagas list order --endpoint sales --status stuck --data DIRECTORY"
    )]
    List {
        /// The saga's name
        saga: String,
        #[command(flatten)]
        of: EndpointArgs,
        /// Only those that stand there: active, compensating, compensated, completed, stuck
        #[arg(long, value_parser = status)]
        status: Option<Status>,
        /// Only those whose id comes after this one
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Show one instance: its state, steps and timeouts
    #[command(after_help = "Example:\n  longhaul sagas show order 7 --endpoint sales --data DIRECTORY")]
    Show {
        /// The saga's name
        saga: String,
        /// The instance's id
        id: String,
        /// The endpoint
        #[arg(long, value_name = "NAME")]
        endpoint: String,
    },
}

/// What can be done with timeouts.
#[derive(Debug, Subcommand)]
pub(crate) enum TimeoutsCommand {
    /// List timeouts, the next one first
    List {
        #[command(flatten)]
        of: EndpointArgs,
    },
    /// Take a timeout away: it never fires
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

fn status(word: &str) -> Result<Status, String> {
    serde_json::from_value(Value::from(word))
        .map_err(|_| "it is one of active, compensating, compensated, completed and stuck".to_owned())
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}

/// `longhaul sagas`
pub(crate) async fn sagas(system: &System, command: &SagasCommand, json: bool) -> Result<ExitCode, Failure> {
    match command {
        SagasCommand::List {
            saga,
            of,
            status,
            after,
        } => {
            let stored = system.stored(&of.endpoint).await?;
            let rows = stored.sagas(saga, *status, after.as_deref(), of.limit).await?;
            if json {
                print_json(&json!({ "sagas": rows }))?;
                return Ok(ExitCode::SUCCESS);
            }
            let now = SystemClock.now();
            let mut table = Table::new(&["ID", "STATUS", "STARTED", "TIMEOUTS", "REASON"]);
            for row in &rows {
                table.row(vec![
                    shown(&row.id),
                    row.status.clone(),
                    row.started.map_or_else(|| "-".to_owned(), |at| ago(at, now)),
                    row.timeouts.to_string(),
                    clipped(&shown(row.reason.as_deref().unwrap_or("-")), TEXT),
                ]);
            }
            told(&table, rows.is_empty(), "no instance matches\n")
        }
        SagasCommand::Show { saga, id, endpoint } => {
            let instance = system.stored(endpoint).await?.saga(saga, id).await?;
            show(saga, id, &instance, json)
        }
    }
}

fn show(saga: &str, id: &str, instance: &Instance, json: bool) -> Result<ExitCode, Failure> {
    let state = instance.state.as_deref();
    let state: Option<Value> = state.and_then(|state| serde_json::from_str(state).ok());
    if json {
        let steps = instance.steps.iter().map(|step| {
            json!({ "request": step.request, "type": step.type_name, "undo": step.undo,
                    "state": format!("{:?}", step.state).to_lowercase(), "attempts": step.attempts, "note": step.note })
        });
        let timeouts = instance.timeouts.iter();
        let timeouts = timeouts.map(|one| json!({ "name": one.name, "due": one.due }));
        print_json(&json!({
            "saga": saga, "id": id, "status": instance.status.to_string(), "started": instance.started,
            "finished": instance.finished, "reason": instance.reason, "given_up": instance.given_up, "state": state,
            "steps": steps.collect::<Vec<_>>(), "timeouts": timeouts.collect::<Vec<_>>(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{} {}: {}\n", shown(saga), shown(id), instance.status);
    text.push_str(&format!("started   {}\n", instance.started));
    if let Some(finished) = instance.finished {
        text.push_str(&format!("finished  {finished}\n"));
    }
    for reason in instance.reason.iter().chain(&instance.given_up) {
        text.push_str(&format!("reason    {}\n", shown(reason)));
    }
    for step in &instance.steps {
        let note = step.note.as_deref().unwrap_or_default();
        let (name, state) = (shown(&step.type_name), format!("{:?}", step.state).to_lowercase());
        text.push_str(&format!(
            "step      {name} {state} {} {}\n",
            step.request,
            shown(note)
        ));
    }
    for timeout in &instance.timeouts {
        text.push_str(&format!(
            "timeout   {} at {}\n",
            shown(&timeout.name),
            timeout.due
        ));
    }
    if let Some(state) = state.and_then(|state| serde_json::to_string_pretty(&state).ok()) {
        let lines = state.lines().map(|line| format!("  {}\n", shown(line)));
        text.extend(["state\n".to_owned()].into_iter().chain(lines));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
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

fn told(table: &Table, is_empty: bool, nothing: &str) -> Result<ExitCode, Failure> {
    if is_empty {
        print(nothing)?;
    } else {
        print(&table.render(Style::of_stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}
