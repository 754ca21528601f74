//! `longhaul sagas`: instances as they are stored, what they went through, and what is done about them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use longhaul_core::clock::{Clock, SystemClock};
use longhaul_sagas::{History, HistoryEvent, Instance, Status};
use serde_json::{Value, json};

use super::operate::{self, FailArgs, RetryArgs, SkipArgs};
use super::stored::{EndpointArgs, TEXT, told};
use crate::connect::System;
use crate::failure::Failure;
use crate::output::{Table, clipped, print, print_json, shown};
use crate::units::ago;

/// What can be asked about sagas, and done about them.
#[derive(Debug, Subcommand)]
pub(crate) enum SagasCommand {
    /// List the instances of a saga by id
    #[command(
        after_help = "Example:\n  longhaul sagas list order --endpoint sales --status stuck --data DIRECTORY"
    )]
    List(ListArgs),
    /// Show one instance: its state, steps and timeouts
    #[command(after_help = "Example:\n  longhaul sagas show order 7 --endpoint sales --data DIRECTORY")]
    Show(OneArgs),
    /// Show what one instance went through, as far as it is kept
    #[command(after_help = "Example:\n  longhaul sagas history order 7 --endpoint sales --data DIRECTORY")]
    History(OneArgs),
    /// Draw what one instance went through, or the states of a saga, as a diagram
    #[command(after_help = "\
Examples:
  longhaul sagas diagram order 7 --endpoint sales --data DIRECTORY > order-7.mmd
  longhaul sagas diagram order --states --program ./sales
  longhaul sagas diagram order --states --program ./sales --format graphviz | dot -Tsvg > order.svg

A saga's states are in its code: the endpoint's program is asked for them, with `--describe`.")]
    Diagram(DiagramArgs),
    /// Have an endpoint try the stuck steps of an instance again
    #[command(after_help = "\
Examples:
  longhaul sagas retry-step order 7 --endpoint sales
  longhaul sagas retry-step order 7 --step ID --endpoint sales --reason 'the bank is back'

The endpoint takes it only if it was built with `.operable_saga::<…>()`. What it refuses goes to the error queue.")]
    RetryStep(RetryArgs),
    /// Have an endpoint take a stuck step out of an instance's compensation
    #[command(after_help = "\
Examples:
  longhaul sagas skip-step order 7 --step ID --reason 'refunded by hand' --endpoint sales --dry-run
  longhaul sagas skip-step order 7 --step ID --reason 'refunded by hand' --endpoint sales --yes")]
    SkipStep(SkipArgs),
    /// Have an endpoint end an instance: what it did is undone, or, with --give-up, left as it is
    #[command(after_help = "\
Examples:
  longhaul sagas fail order 7 --reason fraud --endpoint sales
  longhaul sagas fail order 7 --give-up --reason 'the bank is gone' --endpoint sales --yes")]
    Fail(FailArgs),
}

/// `longhaul sagas list`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
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
}

/// `longhaul sagas show` and `history`
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// The saga's name
    saga: String,
    /// The instance's id
    id: String,
    /// The endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: String,
}

/// `longhaul sagas diagram`
#[derive(Debug, Args)]
pub(crate) struct DiagramArgs {
    /// The saga's name
    saga: String,
    /// The instance's id
    #[arg(required_unless_present = "states", conflicts_with = "states")]
    id: Option<String>,
    /// The endpoint
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "states",
        conflicts_with = "states"
    )]
    endpoint: Option<String>,
    /// The states of the saga, instead of one instance
    #[arg(long, requires = "program")]
    pub(crate) states: bool,
    /// A program with the endpoint's code, which is asked with `--describe` for its sagas
    #[arg(long, value_name = "PROGRAM", requires = "states")]
    program: Option<PathBuf>,
    /// The language of the diagram
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
}

/// The language of a diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Mermaid
    Mermaid,
    /// Graphviz (`dot`), for states only
    Graphviz,
}

fn status(word: &str) -> Result<Status, String> {
    serde_json::from_value(Value::from(word))
        .map_err(|_| "it is one of active, compensating, compensated, completed and stuck".to_owned())
}

impl SagasCommand {
    /// Whether it tells an endpoint something.
    pub(crate) const fn tells(&self) -> bool {
        matches!(self, Self::RetryStep(_) | Self::SkipStep(_) | Self::Fail(_))
    }
}

/// Does what was asked for.
pub(crate) async fn sagas(system: &System, command: &SagasCommand, json: bool) -> Result<ExitCode, Failure> {
    match command {
        SagasCommand::List(args) => list(system, args, json).await,
        SagasCommand::Show(args) => show(args, &one(system, args).await?, json),
        SagasCommand::History(args) => history(&one(system, args).await?.history, json),
        SagasCommand::Diagram(args) => diagram(system, args, json).await,
        SagasCommand::RetryStep(args) => operate::retry(system, args, json).await,
        SagasCommand::SkipStep(args) => operate::skip(system, args, json).await,
        SagasCommand::Fail(args) => operate::fail(system, args, json).await,
    }
}

async fn one(system: &System, args: &OneArgs) -> Result<Instance, Failure> {
    let stored = system.stored(&args.endpoint).await?;
    Ok(stored.saga(&args.saga, &args.id).await?)
}

async fn list(system: &System, args: &ListArgs, json: bool) -> Result<ExitCode, Failure> {
    let stored = system.stored(&args.of.endpoint).await?;
    let rows = stored
        .sagas(&args.saga, args.status, args.after.as_deref(), args.of.limit)
        .await?;
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

fn show(args: &OneArgs, instance: &Instance, json: bool) -> Result<ExitCode, Failure> {
    let state = instance.state.as_deref();
    let state: Option<Value> = state.and_then(|state| serde_json::from_str(state).ok());
    if json {
        let steps = instance.steps.iter().map(|step| {
            json!({ "request": step.request, "type": step.type_name, "undo": step.undo,
                    "state": step.state, "attempts": step.attempts, "note": step.note })
        });
        let timeouts = instance.timeouts.iter();
        let timeouts = timeouts.map(|one| json!({ "id": one.id.as_str(), "name": one.name, "due": one.due }));
        print_json(&json!({
            "saga": args.saga, "id": args.id, "life": instance.incarnation, "status": instance.status,
            "started": instance.started, "finished": instance.finished, "reason": instance.reason,
            "given_up": instance.given_up, "left": instance.left, "state": state,
            "steps": steps.collect::<Vec<_>>(), "timeouts": timeouts.collect::<Vec<_>>(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{} {}: {}\n", shown(&args.saga), shown(&args.id), instance.status);
    text.push_str(&format!("started   {}\n", instance.started));
    text.push_str(&format!("life      {}\n", instance.incarnation));
    if let Some(finished) = instance.finished {
        text.push_str(&format!("finished  {finished}\n"));
    }
    for reason in instance.reason.iter().chain(&instance.given_up) {
        text.push_str(&format!("reason    {}\n", shown(reason)));
    }
    for left in &instance.left {
        text.push_str(&format!("left      {}\n", shown(left)));
    }
    for step in &instance.steps {
        let note = step.note.as_deref().unwrap_or_default();
        let (name, state) = (shown(&step.type_name), step.state);
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

fn history(history: &History, json: bool) -> Result<ExitCode, Failure> {
    if json {
        let events = history.events.iter().map(|event| {
            json!({ "at": event.at, "what": event.what, "message": event.message, "from": event.from,
                    "before": event.before, "after": event.after, "sent": event.sent,
                    "timeouts": event.timeouts, "failed": event.failed })
        });
        print_json(&json!({ "left_out": history.left_out, "events": events.collect::<Vec<_>>() }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&[
        "AT",
        "WHAT",
        "FROM",
        "STATUS",
        "SENT",
        "ASKED FOR",
        "FAILED BEFORE",
    ]);
    for (number, event) in history.events.iter().enumerate() {
        if number == 1 && history.left_out > 0 {
            let more = format!("({} more, not kept)", history.left_out);
            table.row(vec![String::new(), more]);
        }
        table.row(row(event));
    }
    told(&table, history.events.is_empty(), "no history is kept of it\n")
}

fn row(event: &HistoryEvent) -> Vec<String> {
    let list = |names: &[String]| match names.is_empty() {
        true => "-".to_owned(),
        false => clipped(&shown(&names.join(", ")), TEXT),
    };
    vec![
        event.at.to_string(),
        clipped(&shown(&event.what), 2 * TEXT),
        shown(event.from.as_deref().unwrap_or("-")),
        event.after.to_string(),
        list(&event.sent),
        list(&event.timeouts),
        event.failed.to_string(),
    ]
}

async fn diagram(system: &System, args: &DiagramArgs, json: bool) -> Result<ExitCode, Failure> {
    let (Some(id), Some(endpoint)) = (&args.id, &args.endpoint) else {
        return Err(Failure::misused("name the instance, or ask for --states"));
    };
    if args.format != Format::Mermaid {
        return Err(Failure::misused(
            "only the states of a saga are drawn for Graphviz: add --states, or leave --format out",
        ));
    }
    let instance = system.stored(endpoint).await?.saga(&args.saga, id).await?;
    drawn(&instance.history.to_mermaid(&format!("{} {id}", args.saga)), json)
}

/// `longhaul sagas diagram --states`, which needs no broker.
pub(crate) async fn states(args: &DiagramArgs, json: bool) -> Result<ExitCode, Failure> {
    let Some(program) = &args.program else {
        return Err(Failure::misused("name the endpoint's program with --program"));
    };
    let described = super::describe::ask(program, &args.saga).await?;
    drawn(
        match args.format {
            Format::Mermaid => &described.mermaid,
            Format::Graphviz => &described.graphviz,
        },
        json,
    )
}

fn drawn(diagram: &str, json: bool) -> Result<ExitCode, Failure> {
    if json {
        print_json(&json!({ "diagram": diagram }))?;
    } else {
        let lines = diagram.lines().map(|line| format!("{}\n", shown(line)));
        print(&lines.collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}
