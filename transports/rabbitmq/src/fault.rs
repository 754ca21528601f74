//! What lapin and the broker report, as the transport's own errors.

use std::time::Duration;

use lapin::{
    ErrorKind,
    protocol::{AMQPError, AMQPErrorKind, AMQPHardError, AMQPSoftError},
};
use longhaul_core::transport::{TransportError, TransportErrorKind};

/// Why the broker or the connection said no, without lapin's types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// The broker's or the system's own words.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// 404.
    NotFound,
    /// 406: it exists, with other arguments.
    Different,
    /// 403, or the login was refused.
    Denied,
    /// 405: somebody else has it.
    Locked,
    /// No answer in time.
    TimedOut,
    /// The connection or the channel ended.
    Lost,
}

impl Fault {
    pub(crate) fn lost(text: impl Into<String>) -> Self {
        Self {
            kind: FaultKind::Lost,
            text: text.into(),
        }
    }

    pub(crate) fn timed_out(what: &str, limit: Duration) -> Self {
        Self {
            kind: FaultKind::TimedOut,
            text: format!("no answer to {what} within {} s", limit.as_secs_f32()),
        }
    }

    /// Whether trying again can't help before somebody changes something.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::NotFound | FaultKind::Different | FaultKind::Denied
        )
    }

    /// Whether the broker refused the request itself: it has closed the channel, and the connection stays.
    pub(crate) fn is_refusal(&self) -> bool {
        self.is_lasting() || self.kind == FaultKind::Locked
    }

    /// As an error that reads after "failed to": `doing` names the thing, the end says what to do.
    pub(crate) fn while_doing(&self, doing: &str) -> TransportError {
        let text = &self.text;
        let (kind, advice) = match self.kind {
            FaultKind::NotFound => (
                TransportErrorKind::Topology,
                "create it with Declare::Declare, or correct its name",
            ),
            FaultKind::Different => (
                TransportErrorKind::Topology,
                "it exists with other arguments, which can't be changed in place: stop its consumers, move its \
                 messages to another queue, delete it, and start again to have it made anew; or keep it as it is with \
                 Declare::Assume",
            ),
            FaultKind::Denied => (TransportErrorKind::Denied, "give the user the rights for it"),
            FaultKind::Locked => (
                TransportErrorKind::InUse,
                "stop the other consumer, or use a store that several processes can share",
            ),
            FaultKind::TimedOut | FaultKind::Lost => (
                TransportErrorKind::Disconnected,
                "check the broker and the network",
            ),
        };
        TransportError::new(kind, format!("{doing} ({text}): {advice}"))
    }
}

impl From<lapin::Error> for Fault {
    fn from(error: lapin::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::ProtocolError(error) => kind_of(error),
            ErrorKind::AuthProviderError(_) => FaultKind::Denied,
            _ => FaultKind::Lost,
        };
        let text = match error.kind() {
            ErrorKind::ProtocolError(error) => error.get_message().to_string(),
            _ => error.to_string(),
        };
        Self { kind, text }
    }
}

fn kind_of(error: &AMQPError) -> FaultKind {
    match error.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => FaultKind::NotFound,
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => FaultKind::Different,
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
        | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => FaultKind::Denied,
        AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED) => FaultKind::Locked,
        _ => FaultKind::Lost,
    }
}

/// The answer of the broker, or a fault when there is none within the limit.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    answer: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Fault::from),
        Err(_) => Err(Fault::timed_out(what, limit)),
    }
}
