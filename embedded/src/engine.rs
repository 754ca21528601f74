//! Opens sled, and turns what it says or does when it cannot into an answer.

use std::{fs::File, io, path::Path, sync::PoisonError, thread};

use crate::{
    directory::{DATA_NAME, in_use},
    failure::is_full,
    open_error::{OpenError, OpenErrorKind},
    options::Options,
    quiet, record,
    tally::{Head, Tally},
    writer::{ENGINE, panic_text},
};

/// sled, open and read through once.
pub(crate) struct Engine {
    pub(crate) db: sled::Db,
    pub(crate) head: Head,
}

/// Why it is not.
pub(crate) enum Refusal {
    /// What is on disk is not what was written.
    Damaged(String),
    Other(sled::Error),
}

pub(crate) fn open(path: &Path, options: &Options) -> Result<Engine, Refusal> {
    let config = sled::Config::new().path(path).cache_capacity(options.cache_bytes);
    // On a thread of its own, because on damaged data it panics.
    let opening = thread::Builder::new()
        .name("longhaul-open".to_owned())
        .spawn(move || {
            quiet::hush();
            let turn = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
            let db = config.open()?;
            drop(turn);
            read_through(db)
        });
    let outcome = opening.map_err(|error| Refusal::Other(error.into()))?.join();
    let outcome = outcome.unwrap_or_else(|panic| {
        Err(Refusal::Damaged(format!(
            "the engine gave up on its data: {}",
            panic_text(&*panic)
        )))
    });
    if matches!(outcome, Err(Refusal::Damaged(_))) {
        wait_until_let_go(path);
    }
    outcome
}

/// Waits until no thread of sled holds the file: its lock is on it until then.
pub(crate) fn wait_until_let_go(path: &Path) {
    let waited = File::open(path.join(DATA_NAME)).and_then(|file| file.lock());
    if let Err(error) = waited {
        tracing::debug!(path = %path.display(), %error, "could not wait for the engine to let go");
    }
}

/// Reads every entry, so that damage shows now and not at some later read.
fn read_through(db: sled::Db) -> Result<Engine, Refusal> {
    let (mut head, mut tally) = (None, Tally::default());
    for entry in db.iter() {
        let (key, raw) = entry?;
        if key.as_ref() == record::HEAD_KEY {
            head = Head::decode(&raw);
        } else {
            tally.add(&key, &raw);
        }
    }
    let head = head.unwrap_or_default();
    if head.tally == tally {
        return Ok(Engine { db, head });
    }
    Err(Refusal::Damaged(format!(
        "it should hold {}, and holds {tally}",
        head.tally
    )))
}

impl From<sled::Error> for Refusal {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Corruption { .. } => Self::Damaged(error.to_string()),
            // An offset that is beyond the end of the file.
            sled::Error::Io(ref io) if io.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Damaged(error.to_string())
            }
            sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_)
            | sled::Error::Io(_) => Self::Other(error),
        }
    }
}

/// What a refusal for another reason than damage is to the caller.
pub(crate) fn refused(path: &Path, error: sled::Error) -> OpenError {
    match error {
        sled::Error::Io(io) if !is_full(&io) && io.to_string().contains("could not acquire lock") => {
            in_use(path).caused_by(io)
        }
        sled::Error::Io(io) => OpenError::io(path, "open its engine", io),
        sled::Error::Unsupported(_) => {
            let detail = format!("its engine refuses: {error}; use the version that wrote it");
            OpenError::new(OpenErrorKind::Foreign, path, detail).caused_by(error)
        }
        sled::Error::CollectionNotFound(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. } => {
            let detail = format!("its engine refuses: {error}; start the process anew");
            OpenError::new(OpenErrorKind::Io, path, detail).caused_by(error)
        }
    }
}
