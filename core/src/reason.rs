//! Why a message is in the error queue, as a word that programs can compare.

use std::fmt;

/// Why a message was set aside. The text form is stable and stands in the header `longhaul.error.reason`.
///
/// ```
/// assert_eq!(longhaul_core::reason::Reason::BadBody.as_str(), "bad-body");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No message id, or an empty one.
    MissingId,
    /// An id that is not UTF-8, too long, or with control characters.
    BadId,
    /// A header of ours that can't be read.
    BadHeader,
    /// One header with two different values.
    AmbiguousHeader,
    /// Too many headers, too long a header, or too large a body.
    TooLarge,
    /// No codec for the content type.
    UnknownContentType,
    /// The body was kept elsewhere and is not there, or nobody said where to look for it.
    MissingBody,
    /// The body is not what its type says.
    BadBody,
    /// The body is nested too deep.
    TooDeep,
    /// Nothing in the endpoint handles the type.
    UnknownType,
    /// A command that was published, an event that was sent.
    WrongKind,
    /// A due time or delay that can't be read or is out of range.
    BadDelay,
    /// The message has no id to find its instance by.
    NoCorrelation,
    /// The id to find the instance by is out of range.
    BadCorrelation,
    /// Older than the inbox remembers.
    TooOld,
    /// There is no instance for the message, and it did not appear in time.
    NotFound,
    /// The handler returned an error until the retries were used up.
    HandlerFailed,
    /// The handler panicked until the retries were used up.
    HandlerPanicked,
    /// Handling the message ended the process, more than once.
    KilledProcess,
    /// Stored state can't be read by this version of the code.
    UnreadableState,
    /// Too many messages of its instance wait behind one that failed.
    Quarantined,
    /// What the handler sent can't be sent: no route, too large, refused.
    Unsendable,
}

impl Reason {
    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingId => "missing-id",
            Self::BadId => "bad-id",
            Self::BadHeader => "bad-header",
            Self::AmbiguousHeader => "ambiguous-header",
            Self::TooLarge => "too-large",
            Self::UnknownContentType => "unknown-content-type",
            Self::MissingBody => "missing-body",
            Self::BadBody => "bad-body",
            Self::TooDeep => "too-deep",
            Self::UnknownType => "unknown-type",
            Self::WrongKind => "wrong-kind",
            Self::BadDelay => "bad-delay",
            Self::NoCorrelation => "no-correlation",
            Self::BadCorrelation => "bad-correlation",
            Self::TooOld => "too-old",
            Self::NotFound => "not-found",
            Self::HandlerFailed => "handler-failed",
            Self::HandlerPanicked => "handler-panicked",
            Self::KilledProcess => "killed-process",
            Self::UnreadableState => "unreadable-state",
            Self::Quarantined => "quarantined",
            Self::Unsendable => "unsendable",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
