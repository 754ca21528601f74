//! `longhaul errors`: what failed, and what to do about it.

mod args;
mod bodies;
mod change;
pub(crate) mod files;
mod look;
mod rehearse;

use std::process::ExitCode;

use clap::Subcommand;
use longhaul_ops::errors::{ErrorQueue, Outcome, Selection};

use self::args::{
    CareArgs, DiscardArgs, EditArgs, ExportArgs, GroupArgs, ImportArgs, LetPassArgs, ListArgs, ReplayArgs,
    ShowArgs,
};
pub(crate) use self::bodies::BodiesArgs;
pub(crate) use self::files::TornArgs;
use self::rehearse::Rehearsed;
use crate::args::Connection;
use crate::connect::System;
use crate::failure::Failure;
use crate::output::{print, print_json, shown};

/// What can be done with failed messages.
#[derive(Debug, Subcommand)]
pub(crate) enum ErrorsCommand {
    /// List failed messages, oldest first
    #[command(after_help = "\
Examples:
  longhaul errors list
  longhaul errors list --endpoint billing --newer-than 1h --limit 10
  longhaul errors list --json | jq -r '.messages[].id'")]
    List(ListArgs),
    /// Show one failed message: its headers, why it failed, its body
    #[command(after_help = "\
Examples:
  longhaul errors show 0193fe2c-...
  longhaul errors show 0193fe2c-... --body > body.json")]
    Show(ShowArgs),
    /// Count failed messages by endpoint, type and error
    #[command(after_help = "\
Examples:
  longhaul errors group
  longhaul errors group --endpoint billing --json")]
    Group(GroupArgs),
    /// Send failed messages again to where they came from, under the same id
    #[command(after_help = "\
Examples:
  longhaul errors replay 0193fe2c-...
  longhaul errors replay --type 'billing.*' --text 'timed out' --dry-run
  longhaul errors replay --all --yes --rate 200
  longhaul errors replay --endpoint sales --program ./sales --dry-run
  longhaul errors replay --endpoint sales --program ./sales --only-passing --yes

Each is taken out once its copy is confirmed. Ended at any moment nothing is lost; run again, what was sent twice is
handled once.")]
    Replay(ReplayArgs),
    /// Replace a failed message by a new one with another body
    #[command(after_help = "\
Example:
  longhaul errors show ID --body > body.json
  $EDITOR body.json
  longhaul errors edit ID --body body.json --program ./sales

The new message has an id of its own, and the failed one as its cause.")]
    Edit(EditArgs),
    /// Take failed messages out for good
    #[command(after_help = "\
Examples:
  longhaul errors discard 0193fe2c-...
  longhaul errors discard --reason too-old --older-than 30d --dry-run
  longhaul errors discard --reason too-old --older-than 30d --yes
  longhaul errors discard 0193fe2c-... --let-pass

Where later messages are kept in order behind one, it says so: they go on waiting, unless they are let pass.")]
    Discard(DiscardArgs),
    /// Have an endpoint let pass what waits in order behind messages that were discarded
    #[command(after_help = "\
Example:
  longhaul errors let-pass 0193fe2c-... --endpoint sales

The endpoint takes it only if it was built with `.operable_order()`.")]
    LetPass(LetPassArgs),
    /// Write failed messages to a file that only you can read, a line of JSON each
    #[command(after_help = "\
Examples:
  longhaul errors export --all --out errors.jsonl
  longhaul errors export --older-than 30d --out old.jsonl --remove --yes")]
    Export(ExportArgs),
    /// Put exported messages back into the error queue
    #[command(after_help = "Example:\n  longhaul errors import errors.jsonl")]
    Import(ImportArgs),
}

/// Whether a selection was made by what messages are like, and so may be about more of them than somebody thinks.
const fn is_many(selection: &Selection) -> bool {
    matches!(selection, Selection::Matching(_))
}

/// What is wrong without asking any broker.
pub(crate) fn checked(command: &ErrorsCommand) -> Result<&ErrorsCommand, Failure> {
    match command {
        ErrorsCommand::Replay(args) => {
            args.selection.selection()?;
            args.target.target()?;
        }
        ErrorsCommand::Discard(args) => drop(args.selection.selection()?),
        ErrorsCommand::Export(args) => {
            args.selection.selection()?;
            files::check_out(args)?;
        }
        ErrorsCommand::Edit(args) => drop(args.target.target()?),
        ErrorsCommand::Import(args) => drop(files::opened(&args.file)?),
        ErrorsCommand::List(_)
        | ErrorsCommand::Show(_)
        | ErrorsCommand::Group(_)
        | ErrorsCommand::LetPass(_) => {}
    }
    if let Some(bodies) = command.bodies() {
        bodies.check()?;
    }
    Ok(command)
}

impl ErrorsCommand {
    /// Where large bodies are, of what may read or keep some.
    const fn bodies(&self) -> Option<&BodiesArgs> {
        match self {
            Self::Show(args) => Some(&args.bodies),
            Self::Replay(args) => Some(&args.bodies),
            Self::Edit(args) => Some(&args.bodies),
            Self::Export(args) => Some(&args.bodies),
            Self::Import(args) => Some(&args.bodies),
            Self::List(_) | Self::Group(_) | Self::Discard(_) | Self::LetPass(_) => None,
        }
    }

    /// The error queue, with the bodies.
    async fn errors(&self, system: &System) -> Result<ErrorQueue, Failure> {
        let bodies = match self.bodies() {
            Some(bodies) => bodies.open(system).await?,
            None => None,
        };
        Ok(system.errors_with(bodies))
    }
}

/// What was found out before anything is done.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// What a program says would become of messages.
    rehearsed: Option<Rehearsed>,
    /// The body of an edit: standard input can be read once.
    body: Option<Vec<u8>>,
}

/// Asks the program that a replay or an edit names what would become of the messages. It may want the very directory that an embedded
/// broker lies in, so nothing is open meanwhile.
pub(crate) async fn prepare(connection: &Connection, command: &ErrorsCommand) -> Result<Prepared, Failure> {
    match command {
        ErrorsCommand::Replay(args) => {
            let Some(program) = &args.program else {
                return Ok(Prepared::default());
            };
            let selection = args.selection.selection()?;
            let system = System::connect(connection).await?;
            let errors = command.errors(&system).await?;
            let exported = rehearse::export(&errors, &selection).await;
            drop(errors);
            let closed = system.close().await;
            let file = exported?;
            closed?;
            Ok(Prepared {
                rehearsed: Some(rehearse::ask(&file, program, args.program_limit).await?),
                body: None,
            })
        }
        ErrorsCommand::Edit(args) => {
            let body = change::read_body(&args.body)?;
            let Some(program) = &args.program else {
                return Ok(Prepared {
                    rehearsed: None,
                    body: Some(body),
                });
            };
            let edit = args.edit(body.clone())?;
            let system = System::connect(connection).await?;
            let edited = system.errors().edited(&edit).await;
            let closed = system.close().await;
            let file = rehearse::write(&edited?)?;
            closed?;
            Ok(Prepared {
                rehearsed: Some(rehearse::ask(&file, program, args.program_limit).await?),
                body: Some(body),
            })
        }
        _ => Ok(Prepared::default()),
    }
}

/// Does it.
pub(crate) async fn run(
    system: &System,
    command: &ErrorsCommand,
    prepared: Prepared,
    json: bool,
) -> Result<ExitCode, Failure> {
    let errors = command.errors(system).await?;
    match command {
        ErrorsCommand::List(args) => look::list(&errors, args, json).await,
        ErrorsCommand::Show(args) => look::show(&errors, args, json).await,
        ErrorsCommand::Group(args) => look::group(&errors, args, json).await,
        ErrorsCommand::Replay(args) => change::replay(&errors, args, prepared.rehearsed, json).await,
        ErrorsCommand::Edit(args) => change::edit(&errors, args, prepared, json).await,
        ErrorsCommand::Discard(args) => change::discard(&errors, args, json).await,
        ErrorsCommand::LetPass(args) => change::let_pass(system, args, json).await,
        ErrorsCommand::Export(args) => files::export(&errors, args, json).await,
        ErrorsCommand::Import(args) => files::import(&errors, args, json).await,
    }
}

/// Says what came of an action; 1 where something could not be done.
pub(crate) fn tell(outcome: &Outcome, done: &str, json: bool) -> Result<ExitCode, Failure> {
    if json {
        print_json(outcome)?;
    } else {
        tell_done(outcome, done)?;
    }
    code_of(outcome)
}

/// What came of an action, for people.
fn tell_done(outcome: &Outcome, done: &str) -> Result<(), Failure> {
    print(&format!(
        "{done} {} of {} messages\n",
        outcome.done, outcome.matched
    ))?;
    tell_beside(outcome, done);
    Ok(())
}

/// What is to be known beside it, on standard error.
fn tell_beside(outcome: &Outcome, done: &str) {
    tell_problems(outcome);
    if outcome.elsewhere > 0 {
        eprintln!(
            "note: {} of them have their body elsewhere, and only its key was {done}; --claim-check PLACE adds it",
            outcome.elsewhere
        );
    }
}

/// 1 where something could not be done, or was not there.
fn code_of(outcome: &Outcome) -> Result<ExitCode, Failure> {
    change::found_all(&outcome.missing)?;
    Ok(ExitCode::from(u8::from(outcome.failed > 0)))
}

/// Why something could not be done.
pub(crate) fn tell_problems(outcome: &Outcome) {
    for problem in &outcome.problems {
        let id = problem.id.as_deref().unwrap_or("without an id");
        eprintln!("error: {}: failed to {}", shown(id), shown(&problem.why));
    }
    let told = u64::try_from(outcome.problems.len()).unwrap_or(u64::MAX);
    if outcome.failed > told {
        eprintln!("error: and {} more", outcome.failed - told);
    }
}
