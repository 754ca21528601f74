//! Why a database could not be opened.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

use crate::failure::is_full;

/// Why [`Database::open`](crate::Database::open) refused.
#[derive(Debug)]
pub struct OpenError {
    kind: OpenErrorKind,
    path: PathBuf,
    detail: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The class of an [`OpenError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// What is on disk is not what was written. The directory was put back as it was found.
    Damaged,
    /// This or another process has it open. Within one process clone the [`Database`](crate::Database) instead.
    InUse,
    /// There is no space left. Nothing acknowledged is lost.
    StorageFull,
    /// A newer version of this library wrote it.
    Newer,
    /// The directory holds files, but no database of this library.
    Foreign,
    /// The path is a file.
    NotADirectory,
    /// The directory is missing, and so is the one it would be made in.
    MissingParent,
    /// The process may not read and write there.
    PermissionDenied,
    /// The file system is mounted read-only.
    ReadOnly,
    /// The path, or one of its files, is a symbolic link.
    Symlink,
    /// Another error of the operating system.
    Io,
}

impl OpenError {
    /// The class.
    pub fn kind(&self) -> OpenErrorKind {
        self.kind
    }

    /// The path that was to be opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn new(kind: OpenErrorKind, path: &Path, detail: impl Into<String>) -> Self {
        Self {
            kind,
            path: path.to_owned(),
            detail: detail.into(),
            source: None,
        }
    }

    pub(crate) fn io(path: &Path, doing: &str, error: io::Error) -> Self {
        let (kind, advice) = match error.kind() {
            _ if is_full(&error) => (OpenErrorKind::StorageFull, "free space and open it again"),
            io::ErrorKind::PermissionDenied => (
                OpenErrorKind::PermissionDenied,
                "give this process the right to read and write there",
            ),
            io::ErrorKind::ReadOnlyFilesystem => (
                OpenErrorKind::ReadOnly,
                "mount the file system writable or choose another directory",
            ),
            _ => (OpenErrorKind::Io, "look at the disk and the system log"),
        };
        Self::new(kind, path, format!("{doing}: {error}; {advice}")).caused_by(error)
    }

    pub(crate) fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "open the database at {}: {}", self.path.display(), self.detail)
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
