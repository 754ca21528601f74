//! `longhaul delays`: the delay levels on RabbitMQ, and what waits in them.

mod drain;
mod import;
mod moving;
mod transfer;

use std::process::ExitCode;

use clap::Subcommand;
use longhaul_rabbitmq::RabbitMq;
use serde_json::json;

use crate::args::Connection;
use crate::connect::System;
use crate::failure::Failure;
use crate::output::{Style, Table, print, print_json, shown};

/// What can be done with the delay levels.
#[derive(Debug, Subcommand)]
pub(crate) enum DelaysCommand {
    /// Create what is missing: exchanges, queues and bindings; safe to repeat
    #[command(after_help = "\
Examples:
  longhaul delays create
  longhaul delays create --prefix new          before `longhaul delays transfer --to-prefix new`")]
    Create,
    /// Check that all of it exists with the right arguments; bindings can't be checked over AMQP
    #[command(after_help = "Example:\n  longhaul delays verify")]
    Verify,
    /// How many messages wait at each level
    #[command(after_help = "Example:\n  longhaul delays depth --json")]
    Depth,
    /// Send delayed messages whose queue was gone when they fell due, now that it is back
    #[command(after_help = "Example:\n  longhaul delays redeliver --limit 100")]
    Redeliver {
        /// The most messages to send
        #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
        limit: usize,
    },
    /// Empty the delay levels: into a file, or into the queues that the messages are meant for
    #[command(after_help = "\
Examples:
  longhaul delays drain --wait 10m                    they fall due by themselves; wait until all have
  longhaul delays drain --out delayed.jsonl --yes     into a file that only you can read, with due times
  longhaul delays import delayed.jsonl                and back, on this broker or another one
  longhaul delays drain --now --yes                   into their queues at once, long before they are due

Stop what sends delayed messages first, or let it send elsewhere: what comes in meanwhile may be left. A message is taken out once
its line is safely on disk, or its copy is confirmed. Ended at any moment nothing is lost; run again, what is there twice has the
same id and takes effect once.

With --now a command or a retry is handled early. An alarm of a timeout that comes early changes nothing: the endpoint that asked for
it has it in its store, and fires it when it is due.")]
    Drain(drain::DrainArgs),
    /// Move what waits to another broker, virtual host or prefix; it stays due when it was
    #[command(after_help = "\
Examples:
  longhaul delays transfer --to-prefix new --dry-run                     on the same broker, under other names
  longhaul delays transfer --to-url amqps://ops@new.example/prod --yes   password: LONGHAUL_TO_AMQP_PASSWORD
  longhaul delays transfer --to-config new.toml --yes

The delay levels and the queues that the messages are meant for must be there at the target: create the one with `longhaul delays
create`, the others by starting their endpoints there once. Then move the senders, then run this.

What is left of each delay is computed anew from the time when the message is due, by this machine's clock, and rounded up: nothing
comes early. What is due already goes straight to its queue. A message that does not say when it is due (sent by another program, or
by a Longhaul before this one) waits what its routing key has left, counted from now: not early, and later by no more than the time
of the level in which it lay. What fell due and had no queue is moved as well.

Each message is taken out here once its copy is confirmed there. Ended at any moment nothing is lost; run again, what was sent
twice has the same id and takes effect once. A message whose queue is missing at the target stays here, and the command ends with 1.")]
    Transfer(transfer::TransferArgs),
    /// Send drained messages from a file, so that they are in their queues when they are due; on any broker
    #[command(after_help = "\
Examples:
  longhaul delays import delayed.jsonl --dry-run
  longhaul delays import delayed.jsonl --data /var/lib/sales")]
    Import(import::ImportArgs),
}

/// Does it.
pub(crate) async fn run(
    system: &System,
    command: &DelaysCommand,
    connection: &Connection,
) -> Result<ExitCode, Failure> {
    let json = connection.json;
    if let DelaysCommand::Import(args) = command {
        return import::run(system, args, json).await;
    }
    let Some(rabbit) = system.rabbit() else {
        return Err(Failure::misused(
            "only RabbitMQ has delay levels: the embedded broker and SQS need none",
        ));
    };
    match command {
        DelaysCommand::Create => {
            rabbit.create_delays().await?;
            said(json, "created", "the delay levels are there\n")
        }
        DelaysCommand::Verify => {
            rabbit.verify_delays().await?;
            let text = "the delay levels are as they should be; their bindings can't be checked over AMQP\n";
            said(json, "verified", text)
        }
        DelaysCommand::Depth => depth(rabbit, json).await,
        DelaysCommand::Redeliver { limit } => redeliver(rabbit, *limit, json).await,
        DelaysCommand::Drain(args) => drain::run(rabbit, args, json).await,
        DelaysCommand::Transfer(args) => transfer::run(rabbit, args, connection).await,
        DelaysCommand::Import(_) => Ok(ExitCode::SUCCESS),
    }
}

/// What is wrong without asking any broker.
pub(crate) fn checked(command: &DelaysCommand) -> Result<(), Failure> {
    match command {
        DelaysCommand::Drain(args) => drain::checked(args),
        DelaysCommand::Import(args) => import::checked(args),
        DelaysCommand::Transfer(args) => transfer::checked(args),
        DelaysCommand::Create
        | DelaysCommand::Verify
        | DelaysCommand::Depth
        | DelaysCommand::Redeliver { .. } => Ok(()),
    }
}

fn said(json: bool, what: &str, text: &str) -> Result<ExitCode, Failure> {
    if json {
        print_json(&json!({ what: true }))?;
    } else {
        print(text)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn depth(rabbit: &RabbitMq, json: bool) -> Result<ExitCode, Failure> {
    let depths = rabbit.verify_delays().await?;
    if json {
        let rows: Vec<_> = depths
            .iter()
            .map(|(queue, messages)| json!({ "queue": queue, "messages": messages }))
            .collect();
        print_json(&json!({ "queues": rows }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["QUEUE", "MESSAGES"]);
    for (queue, messages) in &depths {
        table.row(vec![shown(queue), messages.to_string()]);
    }
    print(&table.render(Style::of_stdout()))?;
    Ok(ExitCode::SUCCESS)
}

async fn redeliver(rabbit: &RabbitMq, limit: usize, json: bool) -> Result<ExitCode, Failure> {
    let done = rabbit.redeliver_undeliverable(limit).await?;
    if json {
        print_json(&json!({ "sent": done.sent, "left": done.left }))?;
    } else {
        print(&format!(
            "sent {} messages, {} stay: their queues are still gone\n",
            done.sent, done.left
        ))?;
    }
    Ok(ExitCode::from(u8::from(done.left > 0)))
}
