//! Why an action could not be carried out.

use std::fmt;

use longhaul_core::store::{StoreError, StoreErrorKind};
use longhaul_core::transport::{TransportError, TransportErrorKind};

/// Why an operator's action failed as a whole. Reads after "failed to".
#[derive(Debug)]
pub struct OpsError {
    kind: OpsErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpsErrorKind {
    /// There is no such queue.
    NoSuchQueue,
    /// There is no such message, instance or timeout.
    NoSuchMessage,
    /// Another operator, or an endpoint, has it.
    InUse,
    /// The broker could not be reached, or the connection was lost.
    Unreachable,
    /// The broker refused the login or the right.
    Denied,
    /// What was asked for can't be done.
    Invalid,
    /// A file could not be read or written.
    File,
    /// The body of a message is kept elsewhere, and nothing says how to get it.
    BodyElsewhere,
    /// A store could not be read or written.
    Store,
    /// The broker failed otherwise.
    Broker,
}

impl OpsError {
    pub(crate) fn new(kind: OpsErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The same error, with what was being done before it.
    pub(crate) fn during(mut self, doing: &str) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> OpsErrorKind {
        self.kind
    }
}

impl From<TransportError> for OpsError {
    fn from(error: TransportError) -> Self {
        let kind = match error.kind() {
            TransportErrorKind::Topology | TransportErrorKind::Unroutable => OpsErrorKind::NoSuchQueue,
            TransportErrorKind::InUse => OpsErrorKind::InUse,
            TransportErrorKind::Denied => OpsErrorKind::Denied,
            TransportErrorKind::Disconnected | TransportErrorKind::Unknown => OpsErrorKind::Unreachable,
            TransportErrorKind::Invalid | TransportErrorKind::Configuration => OpsErrorKind::Invalid,
            _ => OpsErrorKind::Broker,
        };
        Self::new(kind, error.to_string()).caused_by(error)
    }
}

impl From<StoreError> for OpsError {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            StoreErrorKind::InUse => OpsErrorKind::InUse,
            _ => OpsErrorKind::Store,
        };
        Self::new(kind, error.to_string()).caused_by(error)
    }
}

impl fmt::Display for OpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for OpsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
