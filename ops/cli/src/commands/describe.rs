//! Asking a program with an endpoint's code how its sagas look.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use longhaul_core::endpoint::started;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::args::OPS_CONFIG;
use crate::failure::Failure;
use crate::output::shown;

/// How long the program may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How much of what it says is read, in bytes.
const SAID_BYTES: u64 = 16 << 20;
/// How much of its own failure is shown, in bytes.
const SHOWN_BYTES: usize = 8 << 10;

/// One saga of the program.
#[derive(Debug, Deserialize)]
pub(super) struct Described {
    described: String,
    pub(super) mermaid: String,
    pub(super) graphviz: String,
}

/// Asks the program for one saga.
pub(super) async fn ask(program: &Path, saga: &str) -> Result<Described, Failure> {
    let failed = |why: String| Failure::failed(format!("ask {} for its sagas: {why}", program.display()));
    let child = Command::new(program)
        .env_remove(OPS_CONFIG)
        .arg("--describe")
        // For one that does not know the option: its endpoint refuses to run.
        .env(started::DESCRIBE, "yes")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let answered = tokio::time::timeout(LIMIT, answer(child)).await;
    let all = match answered {
        Ok(Ok(all)) => all,
        Ok(Err(why)) => return Err(failed(why)),
        Err(_) => {
            return Err(failed(format!(
                "it took longer than {} s; does it run its endpoint with `Host`, which knows `--describe`?",
                LIMIT.as_secs()
            )));
        }
    };
    let names: Vec<_> = all.iter().map(|one| shown(&one.described)).collect();
    all.into_iter().find(|one| one.described == saga).ok_or_else(|| {
        failed(match names.is_empty() {
            true => "it told of none; does it run its endpoint with `Host`?".to_owned(),
            false => format!("it has none called {}, only: {}", shown(saga), names.join(", ")),
        })
    })
}

async fn answer(mut child: Child) -> Result<Vec<Described>, String> {
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(String::from("it can't be listened to"));
    };
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let (mut out, mut err) = (out.take(SAID_BYTES), err.take(SAID_BYTES));
    let read = tokio::join!(out.read_to_end(&mut said), err.read_to_end(&mut complained));
    read.0.and(read.1).map_err(|error| error.to_string())?;
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if !status.success() {
        complained.truncate(SHOWN_BYTES);
        let complained = String::from_utf8_lossy(&complained);
        return Err(format!("it ended with {status}: {}", shown(complained.trim())));
    }
    // A program may say other things as well.
    let said = String::from_utf8_lossy(&said);
    Ok(said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}
