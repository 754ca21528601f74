//! What can be typed after `longhaul`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{delays, demo, errors, extras, sagas, stored};

/// The variable that names the file of settings. That of `LONGHAUL_CONFIG` is an endpoint's, and of another form.
pub(crate) const OPS_CONFIG: &str = "LONGHAUL_OPS_CONFIG";

/// Operate a running Longhaul system: look at what failed, and replay it.
#[derive(Debug, Parser)]
#[command(
    name = "longhaul",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  longhaul demo                               with nothing installed
  export LONGHAUL_AMQP_URL=amqp://localhost
  longhaul errors group                       what failed, by endpoint, type and error
  longhaul errors list --endpoint billing     the messages, oldest first
  longhaul errors replay --reason handler-failed --dry-run
  longhaul errors replay --all --yes --rate 200

Exit codes: 0 done; 1 it could not be done, wholly or in part; 2 it was asked for wrongly, and nothing was done; 130 it was ended with
Ctrl-C. Whatever the end, what is not done is where it was."
)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which system, and how the answer looks.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// Settings, in TOML; what is set in the environment or here counts more
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = OPS_CONFIG,
        hide_env_values = true,
        help_heading = "Connection"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Which broker; if not given, the one that is set up
    #[arg(
        long,
        global = true,
        value_enum,
        env = "LONGHAUL_BROKER",
        hide_env_values = true,
        help_heading = "Connection"
    )]
    pub(crate) broker: Option<BrokerName>,
    /// RabbitMQ's address, without a password: that is read from LONGHAUL_AMQP_URL, LONGHAUL_AMQP_PASSWORD or the settings
    #[arg(long, global = true, value_name = "URI", help_heading = "Connection")]
    pub(crate) url: Option<String>,
    /// The directory of an embedded broker; while an endpoint has it open, that endpoint must listen in it. Also LONGHAUL_DATA
    #[arg(long, global = true, value_name = "DIRECTORY", help_heading = "Connection")]
    pub(crate) data: Option<PathBuf>,
    /// What the names of the system's objects on the broker begin with
    #[arg(
        long,
        global = true,
        value_name = "PREFIX",
        env = "LONGHAUL_PREFIX",
        hide_env_values = true,
        help_heading = "Connection"
    )]
    pub(crate) prefix: Option<String>,
    /// The error queue; `error` if nothing else is set
    #[arg(
        long,
        global = true,
        value_name = "QUEUE",
        env = "LONGHAUL_ERROR_QUEUE",
        hide_env_values = true,
        help_heading = "Connection"
    )]
    pub(crate) error_queue: Option<String>,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A broker that the command knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BrokerName {
    /// In a directory
    Embedded,
    /// RabbitMQ
    Rabbitmq,
    /// Amazon SQS
    Sqs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at what failed, replay it, or clear it away
    #[command(subcommand)]
    Errors(Box<errors::ErrorsCommand>),
    /// How many messages wait where
    #[command(subcommand)]
    Queues(extras::QueuesCommand),
    /// Look at the sagas of an endpoint, and help along those that are stuck
    #[command(subcommand)]
    Sagas(sagas::SagasCommand),
    /// List, cancel and move the timeouts of an endpoint in an embedded directory
    #[command(subcommand)]
    Timeouts(stored::TimeoutsCommand),
    /// Look at the messages that an endpoint on an embedded store has not sent yet, and send them
    #[command(subcommand)]
    Outbox(stored::OutboxCommand),
    /// Create, check and empty the delay levels on RabbitMQ, and move what waits in them
    #[command(subcommand)]
    Delays(delays::DelaysCommand),
    /// Check broker, error queue, topology, age of failures and clocks, and say what to do
    #[command(after_help = "\
Examples:
  longhaul doctor
  longhaul doctor --json || page-somebody         ends with 1 where something does not work")]
    Doctor,
    /// See it at work: an endpoint in this process fails a few messages, and these commands look at them and replay them
    Demo(demo::DemoArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  longhaul completions bash > /etc/bash_completion.d/longhaul")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual, one page for each command, into a directory
    #[command(after_help = "Example:\n  longhaul man /usr/local/share/man/man1")]
    Man {
        /// Where to; it must exist
        directory: PathBuf,
    },
}
