//! What draining and transferring have in common: look after look, until nothing is left.

use std::process::ExitCode;

use longhaul_core::admin::Pass;
use longhaul_ops::errors::{OpsError, Outcome};
use longhaul_rabbitmq::RabbitMq;
use serde_json::json;

use crate::commands::errors::tell_problems;
use crate::failure::Failure;
use crate::output::{print, print_json};

/// How many looks follow each other at most: what goes from one level to the next in the moment of a look is met by another.
const LOOKS: u32 = 10;

/// How many messages wait in all levels, and how many in those that hold any.
pub(super) async fn depths(rabbit: &RabbitMq) -> Result<(u64, Vec<(String, u64)>), Failure> {
    let mut depths = rabbit.delays_depth().await?;
    depths.retain(|(_, messages)| *messages > 0);
    let all = depths.iter().map(|(_, messages)| messages).sum();
    Ok((all, depths))
}

/// Looks through the levels until a look finds nothing, or nothing more can be done.
pub(super) async fn until_empty(
    rabbit: &RabbitMq,
    mut one_look: impl AsyncFnMut(Box<dyn Pass>) -> Result<Outcome, OpsError>,
) -> Result<Outcome, Failure> {
    let mut all = Outcome::default();
    for _ in 0..LOOKS {
        let outcome = one_look(rabbit.look_through_delays().await?).await?;
        let goes_on = outcome.done > 0 && outcome.failed == 0;
        all.add(outcome);
        if !goes_on {
            break;
        }
    }
    Ok(all)
}

/// Says what came of it; 1 where messages are left.
pub(super) fn tell(outcome: &Outcome, done: &str, left: u64, json: bool) -> Result<ExitCode, Failure> {
    if json {
        print_json(&json!({
            "done": outcome.done, "failed": outcome.failed, "left": left, "problems": outcome.problems,
        }))?;
    } else {
        print(&format!("{done} {} messages, {left} are left\n", outcome.done))?;
        tell_problems(outcome);
        if left > outcome.failed {
            eprintln!(
                "note: what is left came meanwhile: stop what sends delayed messages, and run it again"
            );
        }
    }
    Ok(ExitCode::from(u8::from(left > 0 || outcome.failed > 0)))
}

/// Says what would be done.
pub(super) fn would(
    verb: &str,
    (all, levels): &(u64, Vec<(String, u64)>),
    json: bool,
) -> Result<ExitCode, Failure> {
    if json {
        let rows: Vec<_> = levels
            .iter()
            .map(|(queue, messages)| json!({ "queue": queue, "messages": messages }))
            .collect();
        print_json(&json!({ "dry_run": true, "messages": all, "queues": rows }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("would {verb} {all} messages\n");
    for (queue, messages) in levels {
        text.push_str(&format!("  {messages} from {}\n", crate::output::shown(queue)));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
