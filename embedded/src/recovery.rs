//! Opens the engine on a directory, and brings back one that it would refuse or break.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    thread,
};

use crate::{
    acknowledged::{self, Acknowledged},
    aside::Aside,
    directory::{DATA_NAME, Directory, in_use, sync_directory},
    failure::is_full,
    open_error::{OpenError, OpenErrorKind},
    options::Options,
    quiet, record,
    writer::panic_text,
};

/// An open engine with all that the writer needs.
pub(crate) struct Opened {
    pub(crate) db: sled::Db,
    /// Our own descriptor of the file of the engine, to sync it.
    pub(crate) file: File,
    pub(crate) acknowledged: Acknowledged,
    /// The number of the last group in the database.
    pub(crate) sequence: u64,
    pub(crate) directory: Directory,
}

pub(crate) fn open(path: &Path, options: &Options) -> Result<Opened, OpenError> {
    let directory = Directory::claim(path)?;
    let path = directory.path();
    let aside = Aside::copy(path, options.safety_copy_bytes)?;
    remove_half_written_snapshots(path)?;
    let (acknowledged, expected) =
        Acknowledged::open(path).map_err(|error| OpenError::io(path, "open its number", error))?;
    let (db, sequence) = match attempt(path, options, expected.unwrap_or(0)) {
        Ok(engine) => {
            aside.discard();
            engine
        }
        Err(Refusal::Corrupt(error)) if has_snapshots(path)? => {
            reopen_without_snapshots(path, options, expected.unwrap_or(0), aside, &error)?
        }
        Err(refusal) => return Err(refusal.into_error(path, aside)),
    };
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
        sequence,
        directory,
    })
}

/// Why the engine would not open.
enum Refusal {
    /// It reports that what it read is not what was written.
    Corrupt(sled::Error),
    /// It opened or broke on data that is damaged.
    Damaged(String),
    Other(sled::Error),
}

fn attempt(path: &Path, options: &Options, expected: u64) -> Result<(sled::Db, u64), Refusal> {
    let config = sled::Config::new().path(path).cache_capacity(options.cache_bytes);
    let opening = thread::Builder::new()
        .name("longhaul-open".to_owned())
        .spawn(move || {
            quiet::hush();
            let db = config.open()?;
            let sequence = checked(&db, expected)?;
            Ok((db, sequence))
        });
    match opening
        .map_err(|error| Refusal::Other(sled::Error::Io(error)))?
        .join()
    {
        Ok(outcome) => outcome,
        Err(panic) => Err(Refusal::Damaged(format!(
            "the engine gave up on its data: {}",
            panic_text(&*panic)
        ))),
    }
}

/// Reads everything once, so that damage shows now and not at some later read, and returns the number of the last
/// group.
fn checked(db: &sled::Db, expected: u64) -> Result<u64, Refusal> {
    for entry in db.iter() {
        entry?;
    }
    let sequence = match db.get(record::SEQUENCE_KEY)? {
        Some(raw) => raw.as_ref().try_into().map(u64::from_be_bytes).unwrap_or(0),
        None => 0,
    };
    if sequence < expected {
        return Err(Refusal::Damaged(format!(
            "acknowledged commits are missing: it ends at group {sequence}, and {expected} was acknowledged \
             (to go on without them, remove {} in it)",
            acknowledged::NAME
        )));
    }
    Ok(sequence)
}

/// The engine keeps a snapshot of its page table to open faster, and gives up when it is damaged. All that is in it
/// is in the data file too.
fn reopen_without_snapshots(
    path: &Path,
    options: &Options,
    expected: u64,
    aside: Aside,
    error: &sled::Error,
) -> Result<(sled::Db, u64), OpenError> {
    let kept = aside.keep()?;
    for name in snapshots(path)? {
        std::fs::remove_file(path.join(name))
            .map_err(|error| OpenError::io(path, "remove a snapshot", error))?;
    }
    match attempt(path, options, expected) {
        Ok(engine) => {
            tracing::warn!(
                path = %path.display(),
                copy = %kept.path().display(),
                %error,
                "the snapshot of the database was damaged; it was rebuilt from the data, nothing acknowledged is \
                 missing, and a copy of the directory as it was found is kept"
            );
            Ok(engine)
        }
        Err(refusal) => Err(refusal.into_error(path, kept)),
    }
}

fn remove_half_written_snapshots(path: &Path) -> Result<(), OpenError> {
    for name in snapshots(path)?
        .iter()
        .filter(|name| name.ends_with(".generating"))
    {
        tracing::info!(path = %path.display(), name, "removing a snapshot that was not finished");
        std::fs::remove_file(path.join(name))
            .map_err(|error| OpenError::io(path, "remove an unfinished snapshot", error))?;
    }
    Ok(())
}

fn has_snapshots(path: &Path) -> Result<bool, OpenError> {
    Ok(!snapshots(path)?.is_empty())
}

fn snapshots(path: &Path) -> Result<Vec<String>, OpenError> {
    let listed: io::Result<Vec<String>> = std::fs::read_dir(path).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    });
    let mut names = listed.map_err(|error| OpenError::io(path, "list it", error))?;
    names.retain(|name| name.starts_with("snap."));
    Ok(names)
}

impl From<sled::Error> for Refusal {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Corruption { .. } => Self::Corrupt(error),
            sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_)
            | sled::Error::Io(_) => Self::Other(error),
        }
    }
}

impl Refusal {
    /// Puts the directory back as it was where that may be needed.
    fn into_error(self, path: &Path, aside: Aside) -> OpenError {
        let (detail, source) = match self {
            Self::Damaged(detail) => (detail, None),
            Self::Corrupt(error) => (error.to_string(), Some(error)),
            Self::Other(error) => {
                aside.discard();
                return other(path, error);
            }
        };
        let left = match aside.put_back(path) {
            Ok(true) => "the directory is as it was found".to_owned(),
            Ok(false) => "no copy was made before it was opened".to_owned(),
            Err(kept) => kept,
        };
        let error = OpenError::new(
            OpenErrorKind::Damaged,
            path,
            format!("{detail}; restore a backup ({left})"),
        );
        match source {
            Some(source) => error.caused_by(source),
            None => error,
        }
    }
}

fn other(path: &Path, error: sled::Error) -> OpenError {
    match error {
        sled::Error::Io(io) if is_full(&io) => OpenError::io(path, "open its engine", io),
        sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => {
            in_use(path).caused_by(io)
        }
        sled::Error::Io(io) => OpenError::io(path, "open its engine", io),
        error @ (sled::Error::Unsupported(_)
        | sled::Error::CollectionNotFound(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. }) => {
            let detail = format!("its engine refuses: {error}; use the version that wrote it");
            OpenError::new(OpenErrorKind::Foreign, path, detail).caused_by(error)
        }
    }
}
