//! `longhaul delays`: the delay levels on RabbitMQ.

use std::process::ExitCode;

use clap::Subcommand;
use longhaul_rabbitmq::RabbitMq;
use serde_json::json;

use crate::connect::System;
use crate::failure::Failure;
use crate::output::{Style, Table, print, print_json, shown};

/// What can be done with the delay levels.
#[derive(Debug, Subcommand)]
pub(crate) enum DelaysCommand {
    /// Create what is missing: exchanges, queues and bindings; safe to repeat
    Create,
    /// Check that all of it exists with the right arguments; bindings can't be checked over AMQP
    Verify,
    /// How many messages wait at each level
    Depth,
    /// Send delayed messages whose queue was gone when they fell due, now that it is back
    Redeliver {
        /// The most messages to send
        #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
        limit: usize,
    },
}

/// Does it.
pub(crate) async fn run(system: &System, command: &DelaysCommand, json: bool) -> Result<ExitCode, Failure> {
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
