//! Why a read did not succeed.

use std::{error::Error, fmt};

/// Why [`Database::get`](crate::Database::get) or [`Database::scan`](crate::Database::scan) did not succeed.
#[derive(Debug)]
pub struct ReadError {
    kind: ReadErrorKind,
    detail: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The class of a [`ReadError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadErrorKind {
    /// The operating system reported an error on the files.
    Io,
    /// What is on disk is not what was written.
    Damaged,
    /// The database is closed.
    Closed,
}

impl ReadError {
    /// The class.
    pub fn kind(&self) -> ReadErrorKind {
        self.kind
    }

    pub(crate) fn closed() -> Self {
        let detail = "it is closed; open it anew".to_owned();
        Self {
            kind: ReadErrorKind::Closed,
            detail,
            source: None,
        }
    }

    pub(crate) fn damaged(what: &str) -> Self {
        let detail = format!("{what}; open it anew to have it checked, or restore a backup");
        Self {
            kind: ReadErrorKind::Damaged,
            detail,
            source: None,
        }
    }

    pub(crate) fn from_sled(error: sled::Error) -> Self {
        let (kind, advice) = match &error {
            sled::Error::Io(_) => (ReadErrorKind::Io, "look at the disk and the system log"),
            sled::Error::Corruption { .. }
            | sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_) => (
                ReadErrorKind::Damaged,
                "open it anew to have it checked, or restore a backup",
            ),
        };
        Self {
            kind,
            detail: format!("{error}; {advice}"),
            source: Some(Box::new(error)),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read the database: {}", self.detail)
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
