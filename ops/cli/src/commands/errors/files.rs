//! Failed messages in files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use longhaul_ops::errors::{ErrorQueue, ExportOptions, LastLine, Target};
use serde_json::json;

use super::change::ask;
use super::{CareArgs, ExportArgs, ImportArgs, code_of, tell, tell_beside};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::progress::Bar;

/// What to do about a file whose export did not come to its end.
#[derive(Debug, Args)]
pub(crate) struct TornArgs {
    /// Leave out a last line that ends in the middle: the export was ended while it wrote, and had not taken out that message
    #[arg(long)]
    torn_end: bool,
}

impl TornArgs {
    pub(crate) const fn last_line(&self) -> LastLine {
        if self.torn_end {
            LastLine::MayBeTorn
        } else {
            LastLine::MustBeWhole
        }
    }
}

/// What is wrong about the file without asking any broker.
pub(super) fn check_out(args: &ExportArgs) -> Result<(), Failure> {
    if is_stdout(&args.out) {
        if args.remove {
            return Err(Failure::misused(
                "--remove needs a file: what goes to standard output is not known to be safe",
            ));
        }
        return Ok(());
    }
    check_new(&args.out)
}

/// A file that is there is never written over.
pub(crate) fn check_new(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() {
        return Err(Failure::misused(format!(
            "{} is there already: choose another name",
            path.display()
        )));
    }
    Ok(())
}

pub(super) async fn export(errors: &ErrorQueue, args: &ExportArgs, json: bool) -> Result<ExitCode, Failure> {
    let options = ExportOptions {
        selection: args.selection.selection()?,
        remove: args.remove,
    };
    if args.remove {
        let care = CareArgs {
            dry_run: false,
            yes: args.yes,
        };
        ask(
            errors,
            &care,
            &options.selection,
            &Target::Source,
            "export and remove",
        )
        .await?;
    }
    let bar = Bar::new("exporting");
    let mut told = |progress| bar.show(progress);
    if is_stdout(&args.out) {
        let mut out = io::stdout();
        let exported = errors
            .export(&options, &mut out, io::Stdout::flush, &mut told)
            .await;
        drop(bar);
        // The answer would be in the way of what was asked for.
        let outcome = exported?;
        tell_beside(&outcome, "exported");
        return code_of(&outcome);
    }
    let file = private(&args.out)?;
    let mut out = BufWriter::new(file);
    let exported = errors.export(&options, &mut out, make_durable, &mut told).await;
    drop(bar);
    if exported.is_err() {
        remove_if_empty(&args.out, &out);
    }
    tell(&exported?, "exported", json)
}

pub(super) async fn import(errors: &ErrorQueue, args: &ImportArgs, json: bool) -> Result<ExitCode, Failure> {
    let mut file = opened(&args.file)?;
    // All of it is read before anything is sent.
    let messages = ErrorQueue::check_import(&mut BufReader::new(&mut file), args.torn.last_line())?;
    if args.dry_run {
        if json {
            print_json(&json!({ "dry_run": true, "messages": messages }))?;
        } else {
            print(&format!("would import {messages} messages\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    file.seek(SeekFrom::Start(0))
        .map_err(|error| Failure::misused(format!("{}: {error}", args.file.display())))?;
    let bar = Bar::new("importing");
    let imported = errors
        .import(
            &mut BufReader::new(file),
            args.torn.last_line(),
            messages,
            &mut |progress| bar.show(progress),
        )
        .await;
    drop(bar);
    tell(&imported?, "imported", json)
}

pub(crate) fn opened(path: &Path) -> Result<File, Failure> {
    let unreadable = |why: &str| Failure::misused(format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|error| unreadable(&error.to_string()))?;
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(file),
        _ => Err(unreadable("it is not a file")),
    }
}

pub(crate) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// A new file that only its owner can read: what is in messages is nobody else's business.
pub(crate) fn private(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let unmade = |error: io::Error| Failure::failed(format!("make {}: {error}", path.display()));
    let file = options.open(path).map_err(unmade)?;
    // Its name, too, must outlive a loss of power before anything is taken out for it.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(unmade)?;
    }
    Ok(file)
}

/// After a failure: nothing came of the file, and the next try may have the name.
pub(crate) fn remove_if_empty(path: &Path, file: &BufWriter<File>) {
    let written = file.get_ref().metadata();
    if file.buffer().is_empty() && written.is_ok_and(|found| found.len() == 0) {
        // Left over, it is in nobody's way but that of the same command.
        drop(fs::remove_file(path));
    }
}

pub(crate) fn make_durable(out: &mut BufWriter<File>) -> io::Result<()> {
    out.flush()?;
    out.get_ref().sync_all()
}
