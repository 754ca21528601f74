//! Why the command ends without having done what it was asked for.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use longhaul_core::transport::TransportError;
use longhaul_ops::errors::{OpsError, OpsErrorKind};

/// A text for people, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// It was asked for wrongly, and nothing was done.
    pub(crate) fn misused(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            code: 2,
        }
    }

    /// It could not be done. The text reads after "failed to".
    pub(crate) fn failed(text: impl fmt::Display) -> Self {
        Self {
            text: format!("failed to {text}"),
            code: 1,
        }
    }

    /// Whether it was asked for wrongly.
    pub(crate) const fn is_misuse(&self) -> bool {
        self.code == 2
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Failure {}

impl From<OpsError> for Failure {
    fn from(error: OpsError) -> Self {
        let failure = Self::failed(&error);
        if error.kind() == OpsErrorKind::Invalid {
            return Self { code: 2, ..failure };
        }
        failure
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        Self::failed(error)
    }
}
