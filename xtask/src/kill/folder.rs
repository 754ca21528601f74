//! The folder of one run: what lies where.

use std::io;
use std::path::{Path, PathBuf};

use crate::kill::ledger::{Notes, ThirdParty};

/// Where everything of one run lies.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The database of the process with that name.
    pub(crate) fn database(&self, process: &str) -> PathBuf {
        self.0.join("data").join(process)
    }

    /// What the process with that name has to say.
    pub(crate) fn log(&self, process: &str) -> PathBuf {
        self.0.join(format!("{process}.log"))
    }

    /// Is there once the process with that name is ready.
    pub(crate) fn ready(&self, process: &str) -> PathBuf {
        self.0.join(format!("{process}.ready"))
    }

    /// Is there once orders may be placed.
    pub(crate) fn begun(&self) -> PathBuf {
        self.0.join("begun")
    }

    /// The orders that were placed: one line for each positive answer.
    pub(crate) fn placed(&self) -> PathBuf {
        self.0.join("placed")
    }

    /// Each run of a handler of billing and shipping, also those that came to nothing.
    pub(crate) fn executions(&self) -> PathBuf {
        self.0.join("executions")
    }

    /// Each outcome that accounts saw, also those whose handling came to nothing.
    pub(crate) fn outcomes(&self) -> PathBuf {
        self.0.join("outcomes")
    }

    pub(crate) fn third_party(&self) -> io::Result<ThirdParty> {
        ThirdParty::open(&self.0.join("third-party"))
    }

    pub(crate) fn notes(&self, path: &Path) -> io::Result<Notes> {
        debug_assert!(path.starts_with(&self.0), "notes lie in the folder of the run");
        Notes::open(path)
    }
}
