//! `--rehearse FILE`: what would become of exported failed messages, told instead of running the endpoint.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use longhaul_core::endpoint::started::{REHEARSE, REHEARSE_OPTION as OPTION};
use longhaul_core::endpoint::{Consequences, EndpointBuilder, Rehearsed, RehearsedChange, Verdict};
use longhaul_record::Record;
use serde_json::{Value, json};

use crate::host::HostError;

/// The longest line that is read, in bytes.
const LINE_BYTES: u64 = 64 << 20;

/// The file that this process was asked to rehearse, if it was; `-` is standard input.
pub(crate) fn asked() -> Result<Option<PathBuf>, HostError> {
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == OPTION {
            let file = arguments.next().map(PathBuf::from);
            let missing = || {
                HostError::config(format!(
                    "rehearse: {OPTION} needs a file of exported messages, or `-`"
                ))
            };
            return file.map(Some).ok_or_else(missing);
        }
        let joined = argument
            .to_str()
            .and_then(|text| text.strip_prefix(OPTION)?.strip_prefix('='));
        if let Some(file) = joined {
            return Ok(Some(PathBuf::from(file)));
        }
    }
    Ok(std::env::var_os(REHEARSE).map(PathBuf::from))
}

/// Reads exported messages from the file and writes what would become of each to standard output, one line of JSON each.
pub(crate) async fn run(file: &Path, endpoint: EndpointBuilder) -> Result<(), HostError> {
    let unreadable =
        |why: &dyn std::fmt::Display| HostError::config(format!("rehearse {}: {why}", file.display()));
    let mut lines: Box<dyn BufRead + Send> = if file == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::new(
            File::open(file).map_err(|error| unreadable(&error))?,
        ))
    };
    let mut rehearsal = endpoint.rehearsal().await?;
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let read = io::Read::take(&mut lines, LINE_BYTES).read_line(&mut line);
        if read.map_err(|error| unreadable(&format!("line {number}: {error}")))? == 0 {
            break;
        }
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        let record = Record::parse(text).and_then(Record::into_incoming);
        let incoming = record.map_err(|error| unreadable(&format!("line {number}: {error}")))?;
        let told = told(&rehearsal.of(&incoming).await?);
        // Whoever reads may have gone.
        writeln!(io::stdout().lock(), "{told}").map_err(|error| unreadable(&error))?;
    }
    Ok(())
}

fn told(rehearsed: &Rehearsed) -> Value {
    let mut told = json!({ "id": rehearsed.id, "type": rehearsed.type_name });
    let more = match &rehearsed.verdict {
        Verdict::Succeeds(consequences) => with("succeeds", consequences),
        Verdict::Unknown { why, consequences } => {
            let mut more = with("unknown", consequences);
            more["why"] = json!(why);
            more
        }
        Verdict::Ignored(why) => json!({ "verdict": "ignored", "why": why }),
        Verdict::Absent => json!({ "verdict": "absent", "why": "nothing takes it yet" }),
        Verdict::Fails { class, reason, text } => json!({
            "verdict": "fails", "why": text, "class": class.as_str(), "reason": reason.as_str(),
        }),
        _ => json!({ "verdict": "unknown" }),
    };
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    told
}

fn with(verdict: &str, consequences: &Consequences) -> Value {
    let sends = consequences.sends.iter().map(|send| {
        json!({
            "type": send.type_name, "to": send.to, "due": send.due.map(|due| due.to_string()), "body": shown(&send.body),
        })
    });
    let timeouts = consequences.timeouts.iter();
    let timeouts = timeouts.map(|(name, due)| json!({ "name": name, "due": due.to_string() }));
    json!({
        "verdict": verdict,
        "changes": consequences.changes.iter().map(change).collect::<Vec<_>>(),
        "sends": sends.collect::<Vec<_>>(),
        "timeouts": timeouts.collect::<Vec<_>>(),
    })
}

fn change(change: &RehearsedChange) -> Value {
    json!({
        "collection": &*change.key.collection,
        "id": &*change.key.id,
        "before": change.before.as_deref().map(shown),
        "after": change.after.as_deref().map(shown),
    })
}

/// A body as JSON where it is that, else as text.
fn shown(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}
