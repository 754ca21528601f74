//! Why a store failed.

use std::fmt;

/// A store's error. Reads after "failed to".
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of error a store met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// An expectation of the unit does not hold: load again and run again.
    Conflict,
    /// The unit may or may not have been committed.
    Unknown,
    /// The store can't be reached for now; nothing was committed.
    Unavailable,
    /// A value is too large, or can't be stored; nothing was committed.
    Refused,
    /// What is stored under one key can't be read.
    Unreadable,
    /// The store has failed for good: stop.
    Failed,
    /// There is no space left: stop; free some, and start again.
    Full,
    /// Another process has it open.
    InUse,
    /// What is on disk is damaged.
    Damaged,
    /// What is on disk was written by a newer version.
    Newer,
    /// Configuration that can't work.
    Configuration,
}

impl StoreError {
    /// An error with a text that reads after "failed to", names the thing and ends with what to do.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Conflict | StoreErrorKind::Unknown | StoreErrorKind::Unavailable
        )
    }

    /// Whether the endpoint must stop.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Failed | StoreErrorKind::Full | StoreErrorKind::InUse | StoreErrorKind::Damaged
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
