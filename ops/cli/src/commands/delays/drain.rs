//! `longhaul delays drain`: what waits, into a file or into its queues.

use std::io::BufWriter;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use longhaul_core::clock::{Clock, SystemClock};
use longhaul_ops::delays::{self, When};
use longhaul_ops::errors::{Outcome, Progress};
use longhaul_rabbitmq::RabbitMq;

use super::moving::{depths, tell, until_empty, would};
use crate::commands::errors::files::{check_new, is_stdout, make_durable, private, remove_if_empty};
use crate::confirm::confirm;
use crate::failure::Failure;
use crate::output::print;
use crate::progress::Bar;
use crate::units::duration;

/// How often it is looked whether everything has fallen due.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// `longhaul delays drain`
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    way: WayArgs,
    /// The most messages in a second, with --now
    #[arg(long, value_name = "NUMBER")]
    rate: Option<NonZeroU32>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

/// Which way.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct WayArgs {
    /// Into this file, which must not exist: a line of JSON each, as an export of failed messages, with queue and due time
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Into their queues at once, before they are due
    #[arg(long)]
    now: bool,
    /// Into their queues when they are due, by the levels themselves: waits so long (90s, 15m, 2h) until none is left
    #[arg(long, value_name = "TIME", value_parser = duration)]
    wait: Option<Duration>,
}

/// What is wrong without asking any broker.
pub(super) fn checked(args: &DrainArgs) -> Result<(), Failure> {
    if args.rate.is_some() && !args.way.now {
        return Err(Failure::misused("--rate goes with --now"));
    }
    match &args.way.out {
        Some(out) if is_stdout(out) => Err(Failure::misused(
            "--out needs a file: what goes to standard output is not known to be safe",
        )),
        Some(out) => check_new(out),
        None => Ok(()),
    }
}

pub(super) async fn run(rabbit: &RabbitMq, args: &DrainArgs, json: bool) -> Result<ExitCode, Failure> {
    let before = depths(rabbit).await?;
    let doing = match &args.way {
        WayArgs { out: Some(_), .. } => "write to the file and take out",
        WayArgs { now: true, .. } => "send at once",
        WayArgs { .. } => "wait for",
    };
    if args.dry_run {
        return would(doing, &before, json);
    }
    let (all, _) = before;
    if let Some(time) = args.way.wait {
        return wait(rabbit, all, time, json).await;
    }
    if all > 0 {
        confirm(args.yes, doing, all).await?;
    }
    match &args.way.out {
        Some(out) => {
            let outcome = write(rabbit, out).await?;
            tell(&outcome, "drained", depths(rabbit).await?.0, json)
        }
        None => {
            let outcome = send(rabbit, args.rate).await?;
            tell(&outcome, "sent", depths(rabbit).await?.0, json)
        }
    }
}

async fn write(rabbit: &RabbitMq, out: &Path) -> Result<Outcome, Failure> {
    let mut file = BufWriter::new(private(out)?);
    let bar = Bar::new("draining");
    let drained = until_empty(rabbit, async |pass| {
        delays::export(pass, &mut file, make_durable, &mut |progress| bar.show(progress)).await
    })
    .await;
    drop(bar);
    if drained.is_err() {
        remove_if_empty(out, &file);
    }
    drained
}

async fn send(rabbit: &RabbitMq, rate: Option<NonZeroU32>) -> Result<Outcome, Failure> {
    let bar = Bar::new("sending");
    until_empty(rabbit, async |pass| {
        let pace = (Arc::new(SystemClock) as Arc<dyn Clock>, rate);
        delays::send(pass, rabbit, When::Now, pace, &mut |progress| bar.show(progress)).await
    })
    .await
}

/// Waits until the levels are empty. Nothing is touched.
async fn wait(rabbit: &RabbitMq, all: u64, time: Duration, json: bool) -> Result<ExitCode, Failure> {
    let bar = Bar::new("waiting");
    let deadline = SystemClock.now() + time;
    let mut left = all;
    while left > 0 && SystemClock.now() < deadline {
        bar.show(Progress {
            expected: all,
            seen: all.saturating_sub(left),
            done: all.saturating_sub(left),
            failed: 0,
        });
        tokio::time::sleep(LOOK_AGAIN).await;
        left = depths(rabbit).await?.0;
    }
    drop(bar);
    let outcome = Outcome {
        done: all.saturating_sub(left),
        ..Outcome::default()
    };
    if json || left == 0 {
        return tell(&outcome, "delivered", left, json);
    }
    print(&format!(
        "{left} messages are left; see where with `longhaul delays depth`\n"
    ))?;
    Ok(ExitCode::FAILURE)
}
