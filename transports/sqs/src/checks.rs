//! Whether settings can work, before anything is asked of AWS.

use std::time::Duration;

use longhaul_core::transport::{TransportError, TransportErrorKind};

use crate::{laps::LAP, timing::Timing};

/// The longest lease of SQS.
const LONGEST_LEASE: Duration = Duration::from_secs(12 * 3600);

/// Limits that SQS itself has.
pub(crate) fn check_timing(timing: &Timing) -> Result<(), TransportError> {
    let fault = |text: &str| Err(TransportError::new(TransportErrorKind::Configuration, text));
    if timing.wait > Duration::from_secs(20) {
        return fault("wait longer than 20 s for messages: SQS doesn't; use Timing::wait of at most 20 s");
    }
    if timing.lease < Duration::from_secs(2) || timing.lease > LONGEST_LEASE {
        return fault(
            "use this lease: SQS keeps messages invisible for up to 12 h; use Timing::lease of 2 s to 12 h",
        );
    }
    let lap = timing.lap;
    if lap < Duration::from_secs(1) || lap > LAP || lap.subsec_nanos() > 0 {
        return fault(
            "use these laps: SQS delays by whole seconds, up to 900; use Timing::lap of 1 s to 900 s",
        );
    }
    if timing.tries == 0 {
        return fault("make no try at all: use Timing::tries of at least 1");
    }
    Ok(())
}

/// Requests are signed, not encrypted: that is TLS's part. The text is not shown, since it may hold a password.
pub(crate) fn check_endpoint(endpoint: &str, allow_plaintext: bool) -> Result<(), TransportError> {
    let fault = |text: &str| Err(TransportError::new(TransportErrorKind::Configuration, text));
    let (scheme, rest) = endpoint.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || !matches!(scheme, "http" | "https") {
        return fault("use the endpoint: it is no address; write it like https://sqs.example");
    }
    if host.contains('@') {
        return fault("use the endpoint: it holds a login, which SQS does not know; take it out");
    }
    let is_here = ["localhost", "127.0.0.1", "[::1]"].into_iter().any(|name| {
        host.strip_prefix(name)
            .is_some_and(|port| port.is_empty() || port.starts_with(':'))
    });
    if scheme == "http" && !is_here && !allow_plaintext {
        return fault(
            "use the endpoint: without TLS all messages can be read on the way to another machine; write https, or \
             allow it with SqsBuilder::allow_plaintext",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_an_endpoint_is_on_another_machine_it_needs_tls_and_a_login_is_never_shown() {
        for good in [
            "http://localhost:4566",
            "http://127.0.0.1:1/",
            "http://[::1]:1",
            "https://sqs.example/path",
        ] {
            assert!(check_endpoint(good, false).is_ok(), "{good}");
        }
        for bad in [
            "http://sqs.example",
            "http://localhost.example",
            "sqs.example",
            "ftp://localhost",
            "https://",
            "https://user:secret@sqs.example",
        ] {
            let error = check_endpoint(bad, false).expect_err(bad).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(check_endpoint("http://sqs.example", true).is_ok());
    }
}
