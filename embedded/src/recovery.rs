//! Opens a directory, and brings back one that the engine would refuse or break on.

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
};

use crate::{
    acknowledged::{self, Acknowledged},
    aside::Aside,
    directory::{DATA_NAME, Directory, names, sync_directory},
    engine::{self, Engine, Refusal},
    open_error::{OpenError, OpenErrorKind},
    options::Options,
    tally::Head,
};

/// An open database with all that the writer needs.
pub(crate) struct Opened {
    pub(crate) db: sled::Db,
    /// Our own descriptor of the file of the engine, to sync it.
    pub(crate) file: File,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) head: Head,
    pub(crate) directory: Directory,
}

pub(crate) fn open(path: &Path, options: &Options) -> Result<Opened, OpenError> {
    let directory = Directory::claim(path)?;
    let path = directory.path();
    let mut aside = Aside::copy(path, options.safety_copy_bytes)?;
    remove_snapshots(path, |name| name.ends_with(".generating"))?;
    let (mut acknowledged, expected) =
        Acknowledged::open(path).map_err(|error| OpenError::io(path, "open its number", error))?;
    if expected.is_some_and(|expected| expected > 0) && !path.join(DATA_NAME).exists() {
        return Err(damaged(
            path,
            &mut aside,
            &format!("its data, {DATA_NAME}, is gone"),
        ));
    }
    let attempt = || checked(engine::open(path, options)?, expected.unwrap_or(0));
    let Engine { db, head } = match attempt() {
        Ok(engine) => engine,
        Err(Refusal::Other(error)) => return Err(engine::refused(path, error)),
        Err(Refusal::Damaged(what)) => again_without_snapshots(path, &mut aside, &what, attempt)?,
    };
    drop(aside);
    acknowledged
        .set(head.sequence)
        .map_err(|error| OpenError::io(path, "write its number", error))?;
    let file = OpenOptions::new()
        .write(true)
        .open(path.join(DATA_NAME))
        .map_err(|error| OpenError::io(path, "open its data a second time", error))?;
    // A new file is durable only once its name is.
    sync_directory(path).map_err(|error| OpenError::io(path, "sync it", error))?;
    Ok(Opened {
        db,
        file,
        acknowledged,
        head,
        directory,
    })
}

/// Whether nothing that was acknowledged is missing.
fn checked(engine: Engine, expected: u64) -> Result<Engine, Refusal> {
    let found = engine.head.sequence;
    if found >= expected {
        return Ok(engine);
    }
    Err(Refusal::Damaged(format!(
        "acknowledged commits are missing: it ends at group {found} and {expected} was acknowledged; to go on \
         without them remove {}",
        acknowledged::NAME
    )))
}

/// The engine keeps a snapshot of its page table to open faster, and gives up when it is damaged, although all that
/// is in it is in the data too.
fn again_without_snapshots(
    path: &Path,
    aside: &mut Aside,
    what: &str,
    attempt: impl FnOnce() -> Result<Engine, Refusal>,
) -> Result<Engine, OpenError> {
    // What the first attempt has changed is not to be built upon.
    aside.put_back()?;
    if !names(path)?.iter().any(|name| is_snapshot(name)) {
        return Err(damaged(path, aside, what));
    }
    let copy = aside.keep()?.to_owned();
    remove_snapshots(path, |_| true)?;
    match attempt() {
        Ok(engine) => {
            tracing::warn!(
                path = %path.display(),
                copy = %copy.display(),
                what,
                "the snapshot of the database was damaged and was rebuilt from the data; nothing is missing; \
                 a copy of the directory as it was found is kept"
            );
            Ok(engine)
        }
        Err(refusal) => {
            aside.put_back()?;
            match refusal {
                Refusal::Damaged(what) => Err(damaged(path, aside, &what)),
                Refusal::Other(error) => Err(engine::refused(path, error)),
            }
        }
    }
}

/// The error for a directory that was put back, where there was a copy.
fn damaged(path: &Path, aside: &mut Aside, what: &str) -> OpenError {
    aside.release();
    OpenError::new(OpenErrorKind::Damaged, path, format!("{what}; restore a backup"))
}

fn remove_snapshots(path: &Path, which: impl Fn(&str) -> bool) -> Result<(), OpenError> {
    for name in names(path)?
        .iter()
        .filter(|name| is_snapshot(name) && which(name))
    {
        tracing::info!(path = %path.display(), name, "removing a snapshot");
        fs::remove_file(path.join(name)).map_err(|error| OpenError::io(path, "remove a snapshot", error))?;
    }
    Ok(())
}

fn is_snapshot(name: &str) -> bool {
    name.starts_with("snap.")
}
