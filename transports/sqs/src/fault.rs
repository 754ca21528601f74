//! What the SDK and AWS report, as the transport's own errors.

use std::{error::Error, io, time::Duration};

use aws_sdk_sqs::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use longhaul_core::transport::{TransportError, TransportErrorKind};

/// Why a request or one entry of a batch failed, without the SDK's types and without anything secret: AWS's code and
/// words, or the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// No such queue or topic.
    Missing,
    /// It exists, with other attributes.
    Different,
    /// The credentials or the rights don't suffice.
    Denied,
    /// Too much at once; not done.
    Throttled,
    /// The right to settle a message is gone.
    Stale,
    /// The request itself is wrong.
    Refused,
    /// AWS failed (5xx); it may be done.
    Failed,
    /// No answer, or half of one; it may be done.
    Unanswered,
    /// It never left this machine.
    Unreached,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    pub(crate) fn timed_out(limit: Duration) -> Self {
        let text = format!("there was no answer within {} s", limit.as_secs_f32());
        Self::new(FaultKind::Unanswered, text)
    }

    /// What an entry of a batch came to.
    pub(crate) fn of_entry(code: &str, message: Option<&str>, is_ours: bool) -> Self {
        let kind = kind_of(code).unwrap_or(if is_ours {
            FaultKind::Refused
        } else {
            // The entry failed at AWS, so it was not taken.
            FaultKind::Throttled
        });
        Self::new(kind, worded(code, message))
    }

    /// Whether the same request may well succeed a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Throttled | FaultKind::Failed | FaultKind::Unanswered | FaultKind::Unreached
        )
    }

    /// Whether trying again can't help before somebody changes something.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Missing | FaultKind::Different | FaultKind::Denied | FaultKind::Refused
        )
    }

    /// As an error that reads after "failed to": `doing` names the thing, the end says what to do.
    pub(crate) fn while_doing(&self, doing: &str) -> TransportError {
        let (kind, advice) = match self.kind {
            FaultKind::Missing => (
                TransportErrorKind::Topology,
                "create it with Declare::Declare, or correct its name, the region or the account",
            ),
            FaultKind::Different => (
                TransportErrorKind::Topology,
                "it exists with other attributes: change them, or keep them with Declare::Assume",
            ),
            FaultKind::Denied => (
                TransportErrorKind::Denied,
                "check the credentials and the region, and give them the rights that the plan's policy lists",
            ),
            FaultKind::Throttled => (TransportErrorKind::Rejected, "try again later"),
            FaultKind::Stale => (TransportErrorKind::Unknown, "it comes again"),
            FaultKind::Refused => (TransportErrorKind::Invalid, "correct what AWS names"),
            FaultKind::Failed | FaultKind::Unanswered => (TransportErrorKind::Unknown, "try again"),
            FaultKind::Unreached => (
                TransportErrorKind::Disconnected,
                "check the network, the region, the endpoint and the credentials",
            ),
        };
        TransportError::new(kind, format!("{doing} ({}): {advice}", self.text))
    }

    /// The same for a message that was to be sent, where a missing queue may appear yet.
    pub(crate) fn while_sending(&self, doing: &str) -> TransportError {
        if self.kind == FaultKind::Missing {
            let text = format!(
                "{doing} ({}): start its endpoint once, or correct the route",
                self.text
            );
            return TransportError::new(TransportErrorKind::Unroutable, text);
        }
        self.while_doing(doing)
    }
}

impl<E: ProvideErrorMetadata> From<SdkError<E, HttpResponse>> for Fault
where
    SdkError<E, HttpResponse>: Error,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let kind = match &error {
            SdkError::ServiceError(context) => {
                let status = context.raw().status().as_u16();
                let known = context.err().code().and_then(kind_of);
                known.unwrap_or(match status {
                    403 => FaultKind::Denied,
                    429 => FaultKind::Throttled,
                    500.. => FaultKind::Failed,
                    _ => FaultKind::Refused,
                })
            }
            SdkError::ConstructionFailure(_) => FaultKind::Refused,
            SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
                if never_left(&error) {
                    FaultKind::Unreached
                } else {
                    FaultKind::Unanswered
                }
            }
            // No credentials, no region, an address that is none.
            SdkError::DispatchFailure(_) => FaultKind::Unreached,
            _ => FaultKind::Unanswered,
        };
        let text = match &error {
            SdkError::ServiceError(context) => {
                worded(context.err().code().unwrap_or("no code"), context.err().message())
            }
            _ => causes(&error),
        };
        Self { kind, text }
    }
}

/// AWS's codes, of SQS and SNS, in the old and the new protocol.
fn kind_of(code: &str) -> Option<FaultKind> {
    let code = code.rsplit(['.', '#']).next().unwrap_or(code);
    Some(match code {
        "QueueDoesNotExist"
        | "NonExistentQueue"
        | "NotFound"
        | "NotFoundException"
        | "ResourceNotFoundException"
        | "NoSuchKey"
        | "NoSuchLifecycleConfiguration" => FaultKind::Missing,
        "QueueNameExists" | "QueueAlreadyExists" => FaultKind::Different,
        "AccessDenied"
        | "AccessDeniedException"
        | "AuthorizationError"
        | "AuthorizationErrorException"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "NotAuthorized"
        | "RequestExpired"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "MissingAuthenticationToken"
        | "InvalidSecurity"
        | "OptInRequired"
        | "KmsAccessDenied"
        | "KmsAccessDeniedException"
        | "KMSAccessDenied" => FaultKind::Denied,
        "RequestThrottled"
        | "Throttling"
        | "ThrottlingException"
        | "Throttled"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "SlowDown"
        | "OverLimit"
        | "KmsThrottled"
        | "KMSThrottling"
        | "QueueDeletedRecently" => FaultKind::Throttled,
        "ReceiptHandleIsInvalid" | "MessageNotInflight" => FaultKind::Stale,
        _ => return None,
    })
}

fn worded(code: &str, message: Option<&str>) -> String {
    let message = message.filter(|message| !message.is_empty());
    message.map_or_else(|| code.to_owned(), |message| format!("{code}: {message}"))
}

/// The innermost words: the SDK's outer ones say only "dispatch failure".
fn causes(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    texts.join(": ")
}

/// Whether the connection was refused or no address was found, so that nothing was sent.
fn never_left(error: &dyn Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause
            .downcast_ref::<io::Error>()
            .is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
            || cause.to_string().contains("dns error")
        {
            return true;
        }
        next = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_codes_are_of_the_old_protocol_they_mean_the_same() {
        assert_eq!(
            kind_of("AWS.SimpleQueueService.NonExistentQueue"),
            Some(FaultKind::Missing)
        );
        assert_eq!(
            kind_of("com.amazonaws.sqs#QueueDoesNotExist"),
            Some(FaultKind::Missing)
        );
        assert_eq!(kind_of("InvalidParameterValue"), None);
    }

    #[test]
    fn when_an_entry_fails_at_aws_it_may_be_tried_again_and_when_it_is_wrong_it_may_not() {
        let error = |code, ours| Fault::of_entry(code, Some("why"), ours).while_sending("send m-1");
        assert_eq!(error("InternalError", false).kind(), TransportErrorKind::Rejected);
        assert_eq!(
            error("InvalidMessageContents", true).kind(),
            TransportErrorKind::Invalid
        );
        assert_eq!(
            error("RequestThrottled", true).kind(),
            TransportErrorKind::Rejected
        );
        assert!(
            error("KmsAccessDenied", true)
                .to_string()
                .contains("KmsAccessDenied: why")
        );
    }
}
