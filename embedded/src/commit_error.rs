//! Why a batch was not committed.

use std::{error::Error, fmt};

use bytes::Bytes;

use crate::failure::{Failure, FailureKind};

/// Why [`Database::commit`](crate::Database::commit) did not make a batch durable.
#[derive(Debug, Clone)]
pub struct CommitError {
    kind: CommitErrorKind,
    key: Option<Bytes>,
    detail: String,
    failure: Option<Failure>,
}

/// The class of a [`CommitError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommitErrorKind {
    /// A check did not hold. Nothing of the batch was written; the batches around it are not concerned.
    Conflict,
    /// A key, a value or the whole batch is over its limit. Nothing was written.
    TooLarge,
    /// The queue is full. Nothing was written; see [`Database::ready`](crate::Database::ready).
    Busy,
    /// The disk is full and the engine has stopped. See [`Failed`](Self::Failed).
    StorageFull,
    /// The engine has stopped. Whether the batch is there after the next open is not known, but it is never there
    /// in part.
    Failed,
    /// The database was closed before the batch was queued. Nothing was written.
    Closed,
    /// The database takes nothing more, and is still making durable what was queued; it goes on in the background.
    StillClosing,
}

impl CommitError {
    /// The class.
    pub fn kind(&self) -> CommitErrorKind {
        self.kind
    }

    /// The key of the check that did not hold, or of the entry that is over a limit.
    pub fn key(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// Whether the same batch may be committed later without being built anew: only when the queue was full.
    pub fn is_retryable(&self) -> bool {
        self.kind == CommitErrorKind::Busy
    }

    /// Why the engine has stopped, when it has.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    pub(crate) fn conflict(key: Bytes) -> Self {
        let detail = format!(
            "the check on key \"{}\" does not hold; read again and decide anew",
            shown(&key)
        );
        Self {
            kind: CommitErrorKind::Conflict,
            key: Some(key),
            detail,
            failure: None,
        }
    }

    pub(crate) fn key_too_large(key: Bytes, limit: usize) -> Self {
        let detail = format!(
            "key \"{}\" of {} bytes is over the limit of {limit}; shorten it",
            shown(&key),
            key.len()
        );
        Self {
            kind: CommitErrorKind::TooLarge,
            key: Some(key),
            detail,
            failure: None,
        }
    }

    pub(crate) fn value_too_large(key: Bytes, bytes: usize, limit: usize) -> Self {
        let detail = format!(
            "the value of {bytes} bytes under key \"{}\" is over the limit of {limit}; store less or raise \
             `max_value_bytes`",
            shown(&key)
        );
        Self {
            kind: CommitErrorKind::TooLarge,
            key: Some(key),
            detail,
            failure: None,
        }
    }

    pub(crate) fn batch_too_large(bytes: usize, limit: usize) -> Self {
        let detail =
            format!("its {bytes} bytes are over the limit of {limit}; split it or raise `max_batch_bytes`");
        Self {
            kind: CommitErrorKind::TooLarge,
            key: None,
            detail,
            failure: None,
        }
    }

    pub(crate) fn busy(batches: usize, bytes: usize) -> Self {
        let detail = format!("{batches} batches of {bytes} bytes are waiting already; wait for `ready`");
        Self {
            kind: CommitErrorKind::Busy,
            key: None,
            detail,
            failure: None,
        }
    }

    pub(crate) fn closed() -> Self {
        let detail = "the database is closed; open it anew".to_owned();
        Self {
            kind: CommitErrorKind::Closed,
            key: None,
            detail,
            failure: None,
        }
    }

    pub(crate) fn still_closing() -> Self {
        let detail =
            "the database is still being closed, in the background; the directory is in use until it is"
                .to_owned();
        Self {
            kind: CommitErrorKind::StillClosing,
            key: None,
            detail,
            failure: None,
        }
    }

    pub(crate) fn failed(failure: Failure) -> Self {
        let kind = match failure.kind() {
            FailureKind::StorageFull => CommitErrorKind::StorageFull,
            FailureKind::Io | FailureKind::Damaged | FailureKind::Broken => CommitErrorKind::Failed,
        };
        Self {
            kind,
            key: None,
            detail: failure.to_string(),
            failure: Some(failure),
        }
    }
}

/// A key as it can be shown: printable, and not longer than a line.
fn shown(key: &[u8]) -> String {
    const SHOWN_BYTES: usize = 64;
    let head = key.get(..SHOWN_BYTES).unwrap_or(key);
    let cut = if head.len() < key.len() { "…" } else { "" };
    format!("{}{cut}", head.escape_ascii())
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commit a batch: {}", self.detail)
    }
}

impl Error for CommitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure
            .as_ref()
            .map(|failure| failure as &(dyn Error + 'static))
    }
}
