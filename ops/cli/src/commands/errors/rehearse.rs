//! Asking a program with an endpoint's code what would become of failed messages.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use longhaul_core::endpoint::started;
use longhaul_ops::errors::{ErrorQueue, ExportOptions, Record, Selection};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::args::OPS_CONFIG;
use crate::failure::Failure;
use crate::output::{print, print_json, shown};
use crate::progress::Bar;

/// The longest answer about one message, in bytes: its state and what it sends are in it.
const LINE_BYTES: u64 = 256 << 20;
/// So much of what the program says of its own failure is shown.
const SAID_BYTES: u64 = 8 << 10;

/// What the program says of one message.
#[derive(Debug, Deserialize)]
struct Told {
    id: String,
    #[serde(rename = "type")]
    type_name: String,
    verdict: String,
    #[serde(default)]
    why: Option<String>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

/// What the program says of all of them.
#[derive(Debug, Default)]
pub(crate) struct Rehearsed {
    /// The ids of the ones that it would handle.
    pub(super) passing: BTreeSet<String>,
    told: Vec<Told>,
}

/// Exports the messages to a file that only this user can read.
pub(super) async fn export(errors: &ErrorQueue, selection: &Selection) -> Result<NamedTempFile, Failure> {
    let unwritable =
        |error: std::io::Error| Failure::failed(format!("export the messages for the program: {error}"));
    let mut file = BufWriter::new(NamedTempFile::new().map_err(unwritable)?);
    let options = ExportOptions {
        selection: selection.clone(),
        remove: false,
    };
    let bar = Bar::new("exporting");
    let mut told = |progress| bar.show(progress);
    let exported = errors
        .export(&options, &mut file, BufWriter::flush, &mut told)
        .await;
    drop(bar);
    super::change::found_all(&exported?.missing)?;
    file.into_inner().map_err(|error| unwritable(error.into_error()))
}

/// Writes one message to a file that only this user can read.
pub(super) fn write(record: &Record) -> Result<NamedTempFile, Failure> {
    let unwritable = |error: String| Failure::failed(format!("write the message for the program: {error}"));
    let line = record.to_line().map_err(|error| unwritable(error.to_string()))?;
    let mut file = NamedTempFile::new().map_err(|error| unwritable(error.to_string()))?;
    writeln!(file, "{line}").map_err(|error| unwritable(error.to_string()))?;
    Ok(file)
}

/// Has the program rehearse what was exported.
pub(super) async fn ask(file: &NamedTempFile, program: &Path, limit: Duration) -> Result<Rehearsed, Failure> {
    let failed = |why: String| Failure::failed(format!("rehearse with {}: {why}", program.display()));
    let mut command = Command::new(program);
    // Ctrl-C is for this process, which ends that one.
    #[cfg(unix)]
    command.process_group(0);
    let child = command
        .arg("--rehearse")
        .arg(file.path())
        // For one that does not know the option: its endpoint refuses to run.
        .env(started::REHEARSE, file.path())
        .env_remove(OPS_CONFIG)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    match tokio::time::timeout(limit, answers(child)).await {
        Ok(Ok(rehearsed)) => Ok(rehearsed),
        Ok(Err(why)) => Err(failed(why)),
        Err(_) => Err(failed(format!(
            "it took longer than {} s; give it more with --program-limit",
            limit.as_secs()
        ))),
    }
}

/// Reads what the program says until it ends.
async fn answers(mut child: Child) -> Result<Rehearsed, String> {
    let (Some(out), Some(said)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(String::from("it can't be listened to"));
    };
    let said = tokio::spawn(async move {
        let mut said = said;
        let mut text = Vec::new();
        let read = (&mut said).take(SAID_BYTES).read_to_end(&mut text).await;
        // The rest is read so that the program can go on, and is not kept.
        let rest = tokio::io::copy(&mut said, &mut tokio::io::sink()).await;
        drop((read, rest));
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut rehearsed = Rehearsed::default();
    let mut out = BufReader::new(out);
    let mut line = String::new();
    loop {
        line.clear();
        let read = (&mut out).take(LINE_BYTES).read_line(&mut line).await;
        if read.map_err(|error| error.to_string())? == 0 {
            break;
        }
        // A program may say other things as well.
        let Ok(told) = serde_json::from_str::<Told>(&line) else {
            continue;
        };
        if matches!(told.verdict.as_str(), "succeeds" | "ignored") {
            rehearsed.passing.insert(told.id.clone());
        }
        rehearsed.told.push(told);
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    let said = said.await.unwrap_or_default();
    if !status.success() {
        return Err(format!("it ended with {status}: {}", shown(said.trim())));
    }
    Ok(rehearsed)
}

impl Rehearsed {
    /// Tells the verdicts, and what would change and be sent.
    pub(super) fn show(&self, json: bool) -> Result<ExitCode, Failure> {
        let all_pass = self.passing.len() == self.told.len();
        if json {
            let messages: Vec<Value> = self.told.iter().map(Told::as_json).collect();
            print_json(&json!({ "dry_run": true, "passing": self.passing.len(), "messages": messages }))?;
        } else {
            let mut text = String::new();
            for told in &self.told {
                told.write(&mut text);
            }
            text.push_str(&format!(
                "would pass: {} of {} messages\n",
                self.passing.len(),
                self.told.len()
            ));
            print(&text)?;
        }
        Ok(ExitCode::from(u8::from(!all_pass)))
    }

    /// What the program says of the one message that an edit would send; an error where it would fail.
    pub(super) fn of_edit(&self, edited: &str) -> Result<&str, Failure> {
        let Some(told) = self.told.first() else {
            let text = format!(
                "edit the message {edited:?}: the program said nothing of it; does it end with `run_until` of the host?"
            );
            return Err(Failure::failed(text));
        };
        if told.verdict != "fails" {
            return Ok(&told.verdict);
        }
        let why = told.why.as_deref().unwrap_or("it does not say why");
        Err(Failure::misused(format!(
            "failed to edit the message {edited:?}: the program would fail the new one: {}; correct the body",
            shown(why)
        )))
    }

    /// Says on standard error how many are left out, and why the first.
    pub(super) fn tell_left_out(&self) {
        let left = self.told.iter().filter(|told| !self.passing.contains(&told.id));
        let mut left = left.peekable();
        if let Some(first) = left.peek() {
            let why = first.why.as_deref().unwrap_or(&first.verdict);
            let (id, why) = (shown(&first.id), shown(why));
            eprintln!("left out: {} that would not pass; {id}: {why}", left.count());
        }
    }
}

impl Told {
    fn as_json(&self) -> Value {
        let mut all = self.more.clone();
        all.insert(String::from("id"), json!(self.id));
        all.insert(String::from("type"), json!(self.type_name));
        all.insert(String::from("verdict"), json!(self.verdict));
        if let Some(why) = &self.why {
            all.insert(String::from("why"), json!(why));
        }
        json!(all)
    }

    fn write(&self, text: &mut String) {
        let (verdict, id, type_name) = (shown(&self.verdict), shown(&self.id), shown(&self.type_name));
        let why = self
            .why
            .as_deref()
            .map(|why| format!(": {}", shown(why)))
            .unwrap_or_default();
        text.push_str(&format!("{verdict:9} {id} {type_name}{why}\n"));
        for change in self.list("changes") {
            let (key, state) = (
                format!("{}/{}", field(change, "collection"), field(change, "id")),
                |name: &str| state(change.get(name).unwrap_or(&Value::Null)),
            );
            text.push_str(&format!("    {}\n", shown(&key)));
            text.push_str(&format!("      - {}\n", state("before")));
            text.push_str(&format!("      + {}\n", state("after")));
        }
        for send in self.list("sends") {
            text.push_str(&format!(
                "    sends {} to {}\n",
                field(send, "type"),
                field(send, "to")
            ));
        }
        for timeout in self.list("timeouts") {
            text.push_str(&format!(
                "    asks for the timeout {} at {}\n",
                field(timeout, "name"),
                field(timeout, "due")
            ));
        }
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.more
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    }
}

fn field(of: &Value, name: &str) -> String {
    shown(of.get(name).and_then(Value::as_str).unwrap_or_default())
}

/// What people want to see of a record: of a saga its state and where it stands, else all of it.
fn state(record: &Value) -> String {
    match record {
        Value::Null => String::from("nothing"),
        Value::Object(fields) if fields.contains_key("incarnation") => {
            let status = fields.get("status").and_then(Value::as_str).unwrap_or_default();
            let state = fields.get("live").and_then(|live| live.get("state"));
            let state = state.map(Value::to_string).unwrap_or_default();
            shown(&format!("{status} {state}"))
        }
        other => shown(&other.to_string()),
    }
}
