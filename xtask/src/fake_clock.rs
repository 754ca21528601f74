//! `cargo xtask delays-under-fake-clock`: a day to 8.5 years on a real broker whose clock is set forward.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use clap::Args;
use longhaul::prelude::*;

/// What is run, and how anybody can.
const ARGUMENTS: [&str; 6] = [
    "run",
    "--quiet",
    "-p",
    "longhaul-rabbitmq",
    "--example",
    "fake_clock",
];

/// Delays of a day to 8.5 years on a private RabbitMQ whose clock is set forward; takes about five minutes.
///
/// It needs the Debian packages rabbitmq-server, faketime and libfaketime.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all arrived, once, none early; 1 not; 2 it could not be tried.")]
pub(crate) struct FakeClockOptions {
    /// What the machine is, for the result
    #[arg(long, default_value = "two cores, 24 GiB, Debian 12")]
    machine: String,
    /// Where the result goes [default: docs/results/delays-under-fake-clock-DATE.md]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs it and writes the result down. Returns whether all is well.
pub(crate) fn run(options: &FakeClockOptions) -> anyhow::Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo)
        .args(ARGUMENTS)
        .current_dir(&root)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut seen = String::new();
    let out = child.stdout.take().context("the output can't be read")?;
    for line in BufReader::new(out).lines() {
        let line = line?;
        println!("{line}");
        writeln!(seen, "{line}")?;
    }
    let passed = child.wait()?.success();
    let now = SystemClock.now().to_string();
    let date = now.split('T').next().unwrap_or(&now);
    let commit = commit(&root)?;
    let text = format!(
        "# Delays under a fake clock\n\n\
         - date: {date}\n- commit: {commit}\n- command: `cargo xtask delays-under-fake-clock`\n- machine: {}\n- result: {}\n\n\
         One private RabbitMQ, whose clock (and no other) goes forward 30 days every 1.2 s. Messages wait in its delay levels;\n\
         each must arrive once, and not before it is due on the broker's clock. A message starts its wait in each level when it\n\
         gets there, so that one with many bits set in its delay comes up to one step later for each of them.\n\n\
         ```text\n{seen}```\n",
        options.machine,
        if passed { "passed" } else { "FAILED" },
    );
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| root.join(format!("docs/results/delays-under-fake-clock-{date}.md")));
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&out, text).with_context(|| format!("{} can't be written", out.display()))?;
    Ok(passed)
}

fn commit(root: &Path) -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .current_dir(root)
        .output()?;
    ensure!(output.status.success(), "git does not tell the commit");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
