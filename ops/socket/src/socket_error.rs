//! Why a socket can't be used.

use std::fmt;
use std::io;

/// Why a socket could not be opened or reached. Reads after "failed to".
#[derive(Debug)]
pub struct SocketError {
    kind: SocketErrorKind,
    text: String,
    source: Option<io::Error>,
}

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketErrorKind {
    /// Nobody listens there.
    Absent,
    /// It belongs to another user.
    Denied,
    /// This process listens there already.
    InUse,
    /// The other side speaks another version, or something else.
    Foreign,
    /// The path is too long for a socket on this system.
    TooLong,
    /// The system refused otherwise.
    Io,
}

impl SocketError {
    pub(crate) fn new(kind: SocketErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            source: None,
        }
    }

    pub(crate) fn io(what: impl fmt::Display, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => SocketErrorKind::Absent,
            io::ErrorKind::PermissionDenied => SocketErrorKind::Denied,
            _ => SocketErrorKind::Io,
        };
        let text = match kind {
            SocketErrorKind::Denied => format!("{what}: {error}; be the user that runs the endpoint"),
            _ => format!("{what}: {error}"),
        };
        Self {
            kind,
            text,
            source: Some(error),
        }
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> SocketErrorKind {
        self.kind
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
