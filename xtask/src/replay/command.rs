//! The `longhaul` command as a process: how long it takes, how much memory, and its sudden end.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};

/// How often a process is asked for its memory.
const LOOK: Duration = Duration::from_millis(5);
/// How long the command may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Builds the command, without SQS; returns where it is.
pub(crate) async fn build(debug: bool) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--package",
        "longhaul-cli",
        "--no-default-features",
    ]);
    if !debug {
        command.arg("--release");
    }
    ensure!(
        command.status().await?.success(),
        "the command could not be built"
    );
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(target
        .join(if debug { "debug" } else { "release" })
        .join("longhaul"))
}

/// The command, and what it is run on.
#[derive(Debug)]
pub(crate) struct Longhaul {
    program: PathBuf,
    url: String,
    errors: String,
}

/// A run that came to its end.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) took: Duration,
    /// The most memory that was resident, in MiB.
    pub(crate) peak_mib: f64,
    pub(crate) out: String,
}

impl Longhaul {
    pub(crate) const fn new(program: PathBuf, url: String, errors: String) -> Self {
        Self { program, url, errors }
    }

    fn start(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("LONGHAUL_AMQP_URL", &self.url)
            .env("LONGHAUL_ERROR_QUEUE", &self.errors)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        command
            .spawn()
            .with_context(|| format!("{} can't be run", self.program.display()))
    }

    /// Runs it to its end.
    #[expect(clippy::disallowed_methods, reason = "this is what is measured")]
    pub(crate) async fn run(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let since = Instant::now();
        let child = self.start(arguments)?;
        let id = child.id();
        let mut peak_kib = 0;
        let mut ended = std::pin::pin!(child.wait_with_output());
        let output = loop {
            ensure!(
                since.elapsed() < LIMIT,
                "`longhaul {}` does not end",
                arguments.join(" ")
            );
            tokio::select! {
                output = &mut ended => break output?,
                () = tokio::time::sleep(LOOK) => peak_kib = peak_kib.max(id.map_or(0, peak_of)),
            }
        };
        let took = since.elapsed();
        ensure!(
            output.status.success(),
            "`longhaul {}` failed",
            arguments.join(" ")
        );
        Ok(Ran {
            took,
            peak_mib: f64::from(peak_kib) / 1024.0,
            out: String::from_utf8(output.stdout)?,
        })
    }

    /// Runs it, and kills it after a while. Returns whether it was still at work.
    pub(crate) async fn run_and_kill(&self, arguments: &[&str], after: Duration) -> anyhow::Result<bool> {
        let mut child = self.start(arguments)?;
        let ended = tokio::time::timeout(after, child.wait()).await.is_ok();
        child.kill().await?;
        Ok(!ended)
    }
}

/// The most memory that a process had so far, in KiB.
fn peak_of(id: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
