//! Looking at what failed.

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use longhaul_core::clock::{Clock, SystemClock, Timestamp};
use longhaul_core::headers;
use longhaul_ops::errors::{ErrorQueue, Failed, Group, Groups, Listing, Page, Record};
use serde_json::json;

use super::{GroupArgs, ListArgs, ShowArgs};
use crate::failure::Failure;
use crate::output::{Style, Table, clipped, print, print_json, shown};
use crate::progress::Bar;
use crate::units::ago;

/// How much of an error's text a line shows, in characters.
const TEXT: usize = 70;

pub(super) async fn list(errors: &ErrorQueue, args: &ListArgs, json: bool) -> Result<ExitCode, Failure> {
    let page = Page {
        skip: args.skip,
        limit: args.limit,
    };
    let listing = errors.list(&args.filter.filter(), page).await?;
    if json {
        print_json(&json!({
            "queue": errors.name(), "depth": listing.depth, "more": listing.more, "messages": listing.messages,
            "caution": errors.caution(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&listed(errors, &listing, SystemClock.now()))?;
    Ok(ExitCode::SUCCESS)
}

fn listed(errors: &ErrorQueue, listing: &Listing, now: Timestamp) -> String {
    let style = Style::of_stdout();
    let mut text = String::new();
    if listing.messages.is_empty() {
        text = match listing.depth {
            0 => format!("the queue {} is empty\n", errors.name()),
            depth => format!("none of {depth} messages matches\n"),
        };
    } else {
        let mut table = Table::new(&["FAILED", "ID", "ENDPOINT", "TYPE", "REASON", "ERROR"]);
        for failed in &listing.messages {
            table.row(row(failed, now));
        }
        text.push_str(&table.render(style));
        if listing.more {
            let more = format!("there are more; {} in the queue: --skip, --limit", listing.depth);
            text.push_str(&style.dim(&more));
            text.push('\n');
        }
    }
    text
}

fn row(failed: &Failed, now: Timestamp) -> Vec<String> {
    let or_dash = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), shown);
    let first_line = failed.text.as_deref().and_then(|text| text.lines().next());
    vec![
        failed
            .last_failure
            .map_or_else(|| "-".to_owned(), |last| ago(last, now)),
        or_dash(failed.id.as_deref()),
        or_dash(failed.endpoint.as_deref()),
        or_dash(Some(&failed.type_name)),
        or_dash(failed.reason.as_deref()),
        clipped(&or_dash(first_line), TEXT),
    ]
}

pub(super) async fn show(errors: &ErrorQueue, args: &ShowArgs, json: bool) -> Result<ExitCode, Failure> {
    let found = errors.show(&args.id).await?;
    let body = errors.body(&found).await;
    if args.body {
        let body = body?;
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(&body).and_then(|()| out.flush())
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(Failure::failed(format!("write the body: {error}")));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let failed = Failed::of(&found);
    if json {
        let is_elsewhere = failed.body_key.is_some();
        let fetched = body.ok().filter(|_| is_elsewhere);
        let fetched = fetched.map(|body| String::from_utf8_lossy(&body).into_owned());
        print_json(&json!({
            "failed": failed, "message": Record::of(&found.incoming), "body_from_elsewhere": fetched,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let style = Style::of_stdout();
    let mut text = summary(&failed, style);
    text.push_str(&format!("\n{}\n", style.bold("Headers")));
    for (name, value) in &found.incoming.headers {
        if !name.starts_with(headers::ERROR_PREFIX) {
            let value = String::from_utf8_lossy(value);
            text.push_str(&format!("  {}: {}\n", shown(name), shown(&value)));
        }
    }
    text.push_str(&format!("\n{}\n", style.bold("Body")));
    match body {
        Ok(bytes) => text.push_str(&laid_out(&bytes)),
        // The rest of the message is worth showing all the same.
        Err(error) => text.push_str(&format!("  failed to {}\n", shown(&error.to_string()))),
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn summary(failed: &Failed, style: Style) -> String {
    let body_kept = failed.body_key.as_ref();
    let body_kept = body_kept.map(|key| format!("{key} ({} bytes, by the claim check)", failed.body_bytes));
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let lines = [
        ("Id", failed.id.clone()),
        ("Type", Some(failed.type_name.clone())),
        ("Reason", failed.reason.clone()),
        ("Error", failed.text.clone()),
        ("Class", failed.class.clone()),
        ("Endpoint", failed.endpoint.clone()),
        ("From queue", failed.source_queue.clone()),
        ("Attempts", failed.attempts.map(|attempts| attempts.to_string())),
        ("Sent", time(failed.sent)),
        ("First failed", time(failed.first_failure)),
        ("Last failed", time(failed.last_failure)),
        ("Host", failed.host.clone()),
        ("Body kept at", body_kept),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            continue;
        };
        let value = shown(&value);
        let value = if name == "Error" { style.red(&value) } else { value };
        text.push_str(&format!("{name:13} {value}\n"));
    }
    for cause in &failed.chain {
        text.push_str(&format!("{:13} {}\n", "  because", shown(cause)));
    }
    for part in &failed.sagas {
        let id = part.id.as_deref().unwrap_or("-");
        text.push_str(&format!("{:13} {}/{}\n", "Saga", shown(&part.saga), shown(id)));
    }
    text
}

/// A body for people: JSON laid out, other text as it is but harmless, and of anything else how large it is.
fn laid_out(bytes: &[u8]) -> String {
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes)
        && let Ok(pretty) = serde_json::to_string_pretty(&json)
    {
        let lines = pretty.lines().map(|line| format!("  {}\n", shown(line)));
        return lines.collect();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.lines().map(|line| format!("  {}\n", shown(line))).collect(),
        Err(_) => format!("  {} bytes that are no text (--body writes them)\n", bytes.len()),
    }
}

pub(super) async fn group(errors: &ErrorQueue, args: &GroupArgs, json: bool) -> Result<ExitCode, Failure> {
    let bar = Bar::new("grouping");
    let grouped = errors
        .group(&args.filter.filter(), &mut |progress| bar.show(progress))
        .await;
    drop(bar);
    let groups = grouped?;
    let (messages, others) = (groups.messages, groups.others);
    if json {
        print_json(&json!({ "messages": messages, "others": others, "groups": groups.by_count() }))?;
    } else if messages == 0 {
        print("no message matches\n")?;
    } else {
        print(&grouped_text(groups, SystemClock.now()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn grouped_text(groups: Groups, now: Timestamp) -> String {
    let (messages, others) = (groups.messages, groups.others);
    let mut table = Table::new(&["COUNT", "LAST", "ENDPOINT", "TYPE", "REASON", "ERROR"]);
    let groups = groups.by_count();
    for group in &groups {
        table.row(group_row(group, now));
    }
    let mut text = table.render(Style::of_stdout());
    if others > 0 {
        text.push_str(&format!(
            "{others} messages are of other groups, too many to tell apart\n"
        ));
    }
    if std::io::stdout().is_terminal() {
        text.push_str(&format!("{messages} messages in {} groups\n", groups.len()));
    }
    text
}

fn group_row(group: &Group, now: Timestamp) -> Vec<String> {
    let key = &group.key;
    let or_dash = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            shown(text)
        }
    };
    vec![
        group.count.to_string(),
        group
            .newest
            .map_or_else(|| "-".to_owned(), |newest| ago(newest, now)),
        or_dash(&key.endpoint),
        or_dash(&key.type_name),
        or_dash(&key.reason),
        clipped(&or_dash(&key.text), TEXT),
    ]
}
