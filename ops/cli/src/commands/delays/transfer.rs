//! `longhaul delays transfer`: what waits, to another broker, virtual host or prefix.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use longhaul_core::clock::{Clock, SystemClock};
use longhaul_ops::delays::{self, When};
use longhaul_ops::errors::Outcome;
use longhaul_rabbitmq::RabbitMq;

use super::moving::{depths, tell, until_empty, would};
use crate::args::Connection;
use crate::config::{self, PASSWORD_OF_TARGET, RabbitSettings, holds_password};
use crate::confirm::confirm;
use crate::connect;
use crate::failure::Failure;
use crate::progress::Bar;

/// `longhaul delays transfer`
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The most messages in a second
    #[arg(long, value_name = "NUMBER")]
    rate: Option<NonZeroU32>,
    /// Check both sides and say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

/// Where to. What is not said is as at the source.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
#[command(next_help_heading = "Where to")]
pub(crate) struct TargetArgs {
    /// The other RabbitMQ, without a password: that is read from LONGHAUL_TO_AMQP_PASSWORD or the settings
    #[arg(long, value_name = "URI")]
    to_url: Option<String>,
    /// What the names of the delay levels there begin with
    #[arg(long, value_name = "PREFIX")]
    to_prefix: Option<String>,
    /// Settings of the other RabbitMQ, in TOML, below `[rabbitmq]`
    #[arg(long, value_name = "FILE")]
    to_config: Option<PathBuf>,
}

/// What is wrong without asking any broker.
pub(super) fn checked(args: &TransferArgs) -> Result<(), Failure> {
    if args.target.to_url.as_deref().is_some_and(holds_password) {
        return Err(Failure::misused(PASSWORD_OF_TARGET));
    }
    Ok(())
}

pub(super) async fn run(
    source: &RabbitMq,
    args: &TransferArgs,
    connection: &Connection,
) -> Result<ExitCode, Failure> {
    let here = config::load(connection)?.rabbitmq;
    let there = args.target.settings(&here)?;
    if here.place()? == there.place()? {
        return Err(Failure::misused(
            "the target is the source: name another broker or virtual host with --to-url, or another prefix with --to-prefix",
        ));
    }
    let target = connect::rabbitmq(&there).await?;
    let done = transfer(source, &target, args, connection.json).await;
    target.close().await;
    done
}

impl TargetArgs {
    fn settings(&self, here: &RabbitSettings) -> Result<RabbitSettings, Failure> {
        let mut there = match &self.to_config {
            Some(file) => config::target(file)?,
            None => here.clone(),
        };
        if let Some(url) = &self.to_url {
            there.url = Some(url.clone());
        }
        if self.to_url.is_some() || self.to_config.is_some() {
            config::set_password_of_target(&mut there, self.to_config.is_some());
        }
        there.prefix = self.to_prefix.clone().or(there.prefix).or(here.prefix.clone());
        Ok(there)
    }
}

async fn transfer(
    source: &RabbitMq,
    target: &RabbitMq,
    args: &TransferArgs,
    json: bool,
) -> Result<ExitCode, Failure> {
    let before = depths(source).await?;
    // Where they are missing, nothing is begun.
    target.verify_delays().await.map_err(|error| {
        Failure::failed(format!(
            "use the target's delay levels: {error}, or: longhaul delays create"
        ))
    })?;
    if args.dry_run {
        return would("move", &before, json);
    }
    if before.0 > 0 {
        confirm(args.yes, "move", before.0).await?;
    }
    let outcome = move_all(source, target, args.rate).await?;
    tell(&outcome, "moved", depths(source).await?.0, json)
}

async fn move_all(
    source: &RabbitMq,
    target: &RabbitMq,
    rate: Option<NonZeroU32>,
) -> Result<Outcome, Failure> {
    let bar = Bar::new("moving");
    until_empty(source, async |pass| {
        let pace = (Arc::new(SystemClock) as Arc<dyn Clock>, rate);
        delays::send(pass, target, When::Due, pace, &mut |progress| bar.show(progress)).await
    })
    .await
}
