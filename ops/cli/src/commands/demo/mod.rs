//! `longhaul demo`: an endpoint in this process, failed messages, and the very commands that look at them and replay them.

mod running;
mod shop;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Args;
use tempfile::TempDir;
use tokio::process::Command;

use self::running::Running;
use self::shop::{Bank, ORDERS, SHOP};
use crate::args::Connection;
use crate::failure::Failure;
use crate::output::{Style, print};

/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// `longhaul demo`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  longhaul demo
  longhaul demo --keep                  and look around afterwards
  longhaul demo --data ./longhaul-demo  in a directory of yours, which must be new or empty, and is kept")]
pub(crate) struct DemoArgs {
    /// Keep the directory, to go on with these commands
    #[arg(long)]
    keep: bool,
}

/// Where the demonstration takes place.
enum Place {
    /// It goes when the demonstration ends.
    Passing(TempDir),
    Kept(PathBuf),
}

impl Place {
    fn path(&self) -> PathBuf {
        match self {
            Self::Passing(folder) => folder.path().join("data"),
            Self::Kept(path) => path.clone(),
        }
    }
}

pub(crate) async fn run(args: &DemoArgs, connection: &Connection) -> Result<ExitCode, Failure> {
    if connection.json {
        return Err(Failure::misused(
            "a demonstration is for people: leave out --json",
        ));
    }
    let place = place(args, connection.data.as_deref())?;
    let directory = place.path();
    show(&directory).await?;
    say(&match &place {
        Place::Passing(_) => "That was all. The directory is removed; with --keep it stays.".to_owned(),
        Place::Kept(path) => format!(
            "That was all. Look around: longhaul errors --help, with --data {}",
            path.display()
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn place(args: &DemoArgs, data: Option<&Path>) -> Result<Place, Failure> {
    if let Some(path) = data {
        let is_empty = std::fs::read_dir(path).map_or(!path.exists(), |mut entries| entries.next().is_none());
        if !is_empty {
            let text = format!(
                "{}: a demonstration needs a directory that is new or empty",
                path.display()
            );
            return Err(Failure::misused(text));
        }
        return Ok(Place::Kept(path.to_owned()));
    }
    let folder = tempfile::Builder::new().prefix("longhaul-demo-").tempdir();
    let folder = folder.map_err(|error| Failure::failed(format!("make a directory: {error}")))?;
    if args.keep {
        return Ok(Place::Kept(folder.keep().join("data")));
    }
    Ok(Place::Passing(folder))
}

async fn show(directory: &Path) -> Result<(), Failure> {
    say(&format!(
        "An endpoint \"{SHOP}\" runs in this process, on a broker and a store in {}.\n\
         It takes {ORDERS} orders; a saga follows each of them, and a handler charges the cards. For some of them the bank is closed.",
        directory.display()
    ))?;
    let failed = shop::live(directory, Bank::Closed).await?;
    let failed = failed.ok_or_else(|| Failure::failed("show failed messages: none failed"))?;
    let longhaul = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        command(arguments, directory.to_owned())
    };

    say("The endpoint has stopped. What failed is in its error queue, unchanged and with the reason.")?;
    longhaul(&["errors", "list"]).await?;
    say("The same, counted by what went wrong:")?;
    longhaul(&["errors", "group"]).await?;
    say("One of them, with headers and body:")?;
    longhaul(&["errors", "show", &failed]).await?;
    say("The sagas of those orders wait:")?;
    longhaul(&["sagas", "list", "order", "--endpoint", SHOP]).await?;
    say("The bank is open again. What would a replay send, and where to?")?;
    longhaul(&["errors", "replay", "--text", "the bank is closed", "--dry-run"]).await?;
    longhaul(&["errors", "replay", "--text", "the bank is closed", "--yes"]).await?;

    say("The endpoint runs once more, handles them, and stops.")?;
    shop::live(directory, Bank::Open).await?;
    longhaul(&["sagas", "list", "order", "--endpoint", SHOP]).await?;
    longhaul(&["errors", "list"]).await
}

/// Says what comes next.
fn say(text: &str) -> Result<(), Failure> {
    print(&format!("\n{}\n", Style::of_stdout().bold(text)))
}

/// Runs this very program as somebody at a shell would, and nothing that is set in the environment changes where it looks.
async fn command(arguments: Vec<String>, directory: PathBuf) -> Result<(), Failure> {
    let quoted = |argument: &String| match argument.contains(' ') {
        true => format!("'{argument}'"),
        false => argument.clone(),
    };
    let typed: Vec<String> = arguments.iter().map(quoted).collect();
    let typed = format!("longhaul {} --data {}", typed.join(" "), directory.display());
    print(&format!("\n$ {typed}\n"))?;
    let failed = |why: String| Failure::failed(format!("run `{typed}`: {why}"));
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGHAUL_") {
            command.env_remove(name);
        }
    }
    command.args(&arguments).arg("--data").arg(&directory);
    command.stdin(Stdio::null());
    // Ctrl-C is for this process, which ends that one.
    #[cfg(unix)]
    command.process_group(0);
    let mut running = Running::start(&mut command).map_err(|error| failed(error.to_string()))?;
    match tokio::time::timeout(LIMIT, running.end()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(format!("it ended with {status}"))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("it took longer than {} s", LIMIT.as_secs()))),
    }
}
