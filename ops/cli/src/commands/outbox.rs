//! `longhaul outbox flush`: sends what an endpoint that does not run has left.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use longhaul_core::claim_check::ClaimCheck;
use longhaul_core::transport::Transport;
use longhaul_ops::outbox::Flushed;

use crate::commands::errors::{BodiesArgs, tell_problems};
use crate::connect::System;
use crate::failure::Failure;
use crate::output::{print, print_json, shown};
use crate::progress::Bar;

/// `longhaul outbox flush`
#[derive(Debug, Args)]
pub(crate) struct FlushArgs {
    /// The endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    #[command(flatten)]
    bodies: BodiesArgs,
    /// Say what would be sent where, and send nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn flush(system: &System, args: &FlushArgs, json: bool) -> Result<ExitCode, Failure> {
    if system.is_running() {
        return Err(Failure::failed(
            "flush the outbox: a process has the directory open, and what its endpoints have in it goes out by itself; stop that process",
        ));
    }
    let transport: Arc<dyn Transport> = match args.bodies.open(system).await? {
        None => Arc::clone(&system.transport),
        Some(bodies) => Arc::new(ClaimCheck::new(Arc::clone(&system.transport), bodies)),
    };
    let stored = system.stored(&args.endpoint).await?;
    let bar = Bar::new("sending");
    let flushed = stored
        .flush_outbox(&*transport, args.dry_run, &mut |progress| bar.show(progress))
        .await;
    drop(bar);
    let flushed = flushed?;
    if json {
        print_json(&flushed)?;
    } else {
        tell(&flushed, args.dry_run)?;
    }
    let stay = flushed.outcome.failed + flushed.later + flushed.parked;
    Ok(ExitCode::from(u8::from(stay > 0)))
}

fn tell(flushed: &Flushed, dry_run: bool) -> Result<(), Failure> {
    let (outcome, verb) = (&flushed.outcome, if dry_run { "would send" } else { "sent" });
    let mut text = format!("{verb} {} of {} messages\n", outcome.done, outcome.seen);
    for (to, count) in &flushed.to {
        text.push_str(&format!("  {count} to {}\n", shown(to)));
    }
    if flushed.later > 0 {
        let later = flushed.later;
        text.push_str(&format!(
            "  {later} are due later than the broker can keep them, and stay\n"
        ));
    }
    if flushed.parked > 0 {
        let parked = flushed.parked;
        text.push_str(&format!(
            "  {parked} are set aside, and stay (see `longhaul outbox list`)\n"
        ));
    }
    print(&text)?;
    tell_problems(outcome);
    Ok(())
}
