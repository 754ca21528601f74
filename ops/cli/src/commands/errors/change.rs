//! Replaying, editing and discarding.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use longhaul_core::address::Address;
use longhaul_core::ids::MessageId;
use longhaul_ops::errors::{Discard, Discarded, ErrorQueue, Outcome, Preview, Replay, Selection, Target};
use serde_json::json;

use super::rehearse::Rehearsed;
use super::{
    CareArgs, DiscardArgs, EditArgs, LetPassArgs, Prepared, ReplayArgs, code_of, is_many, tell, tell_done,
};
use crate::confirm::confirm;
use crate::connect::System;
use crate::failure::Failure;
use crate::output::{print, print_json, shown};
use crate::progress::Bar;

/// The largest body that is read from a file, in bytes.
const BODY_BYTES: u64 = 16 * 1024 * 1024;

pub(super) async fn replay(
    errors: &ErrorQueue,
    args: &ReplayArgs,
    rehearsed: Option<Rehearsed>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let mut replay = Replay {
        selection: args.selection.selection()?,
        target: args.target.target()?,
        per_second: args.rate,
    };
    if let Some(rehearsed) = rehearsed {
        if args.care.dry_run {
            return rehearsed.show(json);
        }
        if args.only_passing {
            rehearsed.tell_left_out();
            if rehearsed.passing.is_empty() {
                return tell(&Outcome::default(), "replayed", json);
            }
            replay.selection = Selection::Ids(rehearsed.passing);
        }
    }
    if args.care.dry_run {
        let preview = look_ahead(errors, &replay.selection, &replay.target).await?;
        return previewed(&preview, "send", json);
    }
    ask(errors, &args.care, &replay.selection, &replay.target, "replay").await?;
    let bar = Bar::new("replaying");
    let replayed = errors.replay(&replay, &mut |progress| bar.show(progress)).await;
    drop(bar);
    tell(&replayed?, "replayed", json)
}

pub(super) async fn discard(
    errors: &ErrorQueue,
    args: &DiscardArgs,
    json: bool,
) -> Result<ExitCode, Failure> {
    let selection = args.selection.selection()?;
    if args.care.dry_run {
        let preview = look_ahead(errors, &selection, &Target::Source).await?;
        return discarded(&preview, json);
    }
    ask(errors, &args.care, &selection, &Target::Source, "discard").await?;
    let bar = Bar::new("discarding");
    let discard = Discard {
        selection,
        let_pass: args.let_pass,
    };
    let discarded = errors.discard(&discard, &mut |progress| bar.show(progress)).await;
    drop(bar);
    let discarded = discarded?;
    if json {
        print_json(&discarded)?;
    } else {
        tell_done(&discarded.outcome, "discarded")?;
        print(&held(&discarded, args.let_pass))?;
    }
    code_of(&discarded.outcome)
}

/// What is to be known of messages that later ones were kept in order behind.
fn held(discarded: &Discarded, let_pass: bool) -> String {
    let told = if let_pass {
        "what waits in order behind it was let pass"
    } else {
        "what waits in order behind it goes on waiting"
    };
    let mut text = String::new();
    for holding in &discarded.holding {
        let (id, endpoint) = (holding.id.as_deref(), holding.endpoint.as_deref());
        let (id, endpoint) = (shown(id.unwrap_or("-")), shown(endpoint.unwrap_or("NAME")));
        let order = shown(&holding.order.join(", "));
        text.push_str(&format!("  {id} held the order of {order}: {told}"));
        if !let_pass {
            text.push_str(&format!(
                "; to let it pass: longhaul errors let-pass {id} --endpoint {endpoint}"
            ));
        }
        text.push('\n');
    }
    let shown = u64::try_from(discarded.holding.len()).unwrap_or(u64::MAX);
    if discarded.held > shown {
        text.push_str(&format!("  and {} more: {told}\n", discarded.held - shown));
    }
    text
}

pub(super) async fn let_pass(system: &System, args: &LetPassArgs, json: bool) -> Result<ExitCode, Failure> {
    let endpoint = Address::new(&args.endpoint).map_err(|error| Failure::misused(error.to_string()))?;
    let mut ids = Vec::with_capacity(args.ids.len());
    for id in &args.ids {
        ids.push(MessageId::new(id).map_err(|error| Failure::misused(error.to_string()))?);
    }
    let operator = system.operator();
    operator.check(&endpoint).await?;
    let mut told = Vec::with_capacity(ids.len());
    for first in ids {
        if !args.dry_run {
            told.push(operator.let_pass(&endpoint, first).await?);
        }
    }
    if json {
        print_json(&json!({ "dry_run": args.dry_run, "to": endpoint, "messages": told }))?;
    } else {
        let verb = if args.dry_run { "would tell" } else { "told" };
        print(&format!(
            "{verb} {endpoint} to let pass what waits in order behind {} messages\n",
            args.ids.len()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn edit(
    errors: &ErrorQueue,
    args: &EditArgs,
    prepared: Prepared,
    json: bool,
) -> Result<ExitCode, Failure> {
    let edit = args.edit(prepared.body.unwrap_or_default())?;
    let verdict = match &prepared.rehearsed {
        Some(rehearsed) => Some(rehearsed.of_edit(&args.id)?),
        None => None,
    };
    let edited = errors.edit(&edit).await?;
    if json {
        print_json(&json!({
            "id": edited.id, "to": edited.to, "sent": !args.dry_run, "verdict": verdict,
        }))?;
    } else {
        let verb = if args.dry_run { "would send" } else { "sent" };
        print(&format!(
            "{verb} {} to {} in place of {}\n",
            edited.id,
            edited.to,
            shown(&args.id)
        ))?;
        if let Some(verdict) = verdict.filter(|verdict| *verdict != "succeeds") {
            eprintln!("note: of the new message the program says: {}", shown(verdict));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// For more than what was named by id.
pub(super) async fn ask(
    errors: &ErrorQueue,
    care: &CareArgs,
    selection: &Selection,
    target: &Target,
    doing: &str,
) -> Result<(), Failure> {
    if care.yes || !is_many(selection) {
        return Ok(());
    }
    let preview = look_ahead(errors, selection, target).await?;
    if preview.matched == 0 {
        return Ok(());
    }
    confirm(false, doing, preview.matched).await
}

async fn look_ahead(errors: &ErrorQueue, selection: &Selection, target: &Target) -> Result<Preview, Failure> {
    let bar = Bar::new("looking");
    let preview = errors
        .preview(selection, target, &mut |progress| bar.show(progress))
        .await;
    drop(bar);
    Ok(preview?)
}

/// An id that is not there is a failure, whatever became of the others.
pub(super) fn found_all(missing: &BTreeSet<String>) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    let which: Vec<String> = missing.iter().map(|id| shown(id)).collect();
    let text = format!(
        "find {} in the error queue: not there; replayed or discarded already?",
        which.join(", ")
    );
    Err(Failure::failed(text))
}

fn previewed(preview: &Preview, verb: &str, json: bool) -> Result<ExitCode, Failure> {
    if json {
        print_json(&json!({
            "dry_run": true, "seen": preview.seen, "matched": preview.matched, "to": preview.to,
            "impossible": preview.impossible, "problems": preview.problems, "missing": preview.missing,
        }))?;
    } else {
        let mut text = format!(
            "would {verb} {} of {} messages\n",
            preview.matched - preview.impossible,
            preview.seen
        );
        for (queue, count) in &preview.to {
            text.push_str(&format!("  {count} to {}\n", shown(queue.as_str())));
        }
        for problem in &preview.problems {
            let id = problem.id.as_deref().unwrap_or("without an id");
            text.push_str(&format!("  not {}: can't {}\n", shown(id), shown(&problem.why)));
        }
        print(&text)?;
    }
    found_all(&preview.missing)?;
    Ok(ExitCode::from(u8::from(preview.impossible > 0)))
}

fn discarded(preview: &Preview, json: bool) -> Result<ExitCode, Failure> {
    if json {
        print_json(&json!({
            "dry_run": true, "seen": preview.seen, "matched": preview.matched, "held": preview.holding,
            "missing": preview.missing,
        }))?;
    } else {
        print(&format!(
            "would discard {} of {} messages\n",
            preview.matched, preview.seen
        ))?;
        if preview.holding > 0 {
            print(&format!(
                "  {} of them hold the order of others: add --let-pass to let pass what waits behind them\n",
                preview.holding
            ))?;
        }
    }
    found_all(&preview.missing)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |why: String| Failure::misused(format!("{}: {why}", path.display()));
    let mut body = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(BODY_BYTES + 1)
            .read_to_end(&mut body)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(BODY_BYTES + 1).read_to_end(&mut body))
    };
    read.map_err(|error| unreadable(error.to_string()))?;
    if u64::try_from(body.len()).unwrap_or(u64::MAX) > BODY_BYTES {
        return Err(unreadable(format!("it is larger than {BODY_BYTES} bytes")));
    }
    Ok(body)
}
