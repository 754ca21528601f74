//! Why the engine has stopped for good.

use std::{error::Error, fmt, io, sync::Arc};

/// Why a database accepts no more commits until it is opened anew.
///
/// After the first error of the engine nothing more is acknowledged, because what it has on disk is no longer
/// known. Reading goes on as long as the engine can, from what was durable before.
#[derive(Clone)]
pub struct Failure(Arc<Inner>);

struct Inner {
    kind: FailureKind,
    detail: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The class of a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The disk is full. Free space and open anew: nothing acknowledged is lost.
    StorageFull,
    /// The operating system reported another error on the files.
    Io,
    /// What is on disk is not what was written.
    Damaged,
    /// The engine reached a state it does not expect and gave up.
    Broken,
}

impl Failure {
    /// The class.
    pub fn kind(&self) -> FailureKind {
        self.0.kind
    }

    pub(crate) fn from_io(doing: &str, error: io::Error) -> Self {
        let kind = if is_full(&error) {
            FailureKind::StorageFull
        } else {
            FailureKind::Io
        };
        Self::new(kind, format!("{doing}: {error}"), Some(Box::new(error)))
    }

    pub(crate) fn from_sled(doing: &str, error: sled::Error) -> Self {
        let kind = match &error {
            sled::Error::Io(io) if is_full(io) => FailureKind::StorageFull,
            sled::Error::Io(_) => FailureKind::Io,
            sled::Error::Corruption { .. } => FailureKind::Damaged,
            sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_) => FailureKind::Broken,
        };
        Self::new(kind, format!("{doing}: {error}"), Some(Box::new(error)))
    }

    pub(crate) fn from_panic(doing: &str, panic: &str) -> Self {
        Self::new(
            FailureKind::Broken,
            format!("{doing}: the engine gave up: {panic}"),
            None,
        )
    }

    fn new(kind: FailureKind, detail: String, source: Option<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::new(Inner { kind, detail, source }))
    }
}

/// Whether an error of the operating system means that there is no space left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("kind", &self.0.kind)
            .field("detail", &self.0.detail)
            .finish()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what_to_do = match self.0.kind {
            FailureKind::StorageFull => "free space on its disk and open the database anew",
            FailureKind::Io => "look at the disk and the system log, then open the database anew",
            FailureKind::Damaged => "open the database anew to have it checked, or restore a backup",
            FailureKind::Broken => "open the database anew",
        };
        write!(f, "keep the database writable: {}; {what_to_do}", self.0.detail)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
