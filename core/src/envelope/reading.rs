//! From a message as a broker hands it over to an envelope: everything that may be wrong with it is checked here.

use std::fmt;

use super::{Envelope, Incoming};
use crate::headers::{self, Headers};
use crate::ids::MessageId;
use crate::limits::Limits;
use crate::reason::Reason;

/// Why a message can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    reason: Reason,
    detail: String,
}

impl Unreadable {
    /// A reason with the detail for people.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    /// The word for programs.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read the message ({}): {}", self.reason, self.detail)
    }
}

impl std::error::Error for Unreadable {}

/// Reads what a broker handed over, strictly: the message is whole and within limits, or it is unreadable.
///
/// Headers of others that are not UTF-8 are left out here; the transport's own properties still hold them.
/// A malformed `traceparent` is dropped, for tracing must never cost a message.
///
/// # Errors
/// [`Reason::MissingId`], [`Reason::BadId`], [`Reason::TooLarge`], [`Reason::AmbiguousHeader`], [`Reason::BadHeader`].
pub fn read(incoming: &Incoming, limits: &Limits) -> Result<Envelope, Unreadable> {
    let id = read_id(incoming.id.as_deref())?;
    if has_too_many(&incoming.headers, limits.headers) {
        return Err(Unreadable::new(
            Reason::TooLarge,
            format!("it has more than {} headers", limits.headers),
        ));
    }
    if incoming.body.len() > limits.body_bytes {
        return Err(Unreadable::new(
            Reason::TooLarge,
            format!("its body is over {} bytes", limits.body_bytes),
        ));
    }
    let mut headers = Headers::new();
    for (name, value) in &incoming.headers {
        if name.len().max(value.len()) > limits.header_bytes {
            let most = limits.header_bytes;
            return Err(Unreadable::new(
                Reason::TooLarge,
                format!("a header is over {most} bytes"),
            ));
        }
        let Ok(value) = std::str::from_utf8(value) else {
            if name.starts_with(headers::RESERVED_PREFIX) {
                return Err(Unreadable::new(
                    Reason::BadHeader,
                    format!("the header {name:?} is not UTF-8"),
                ));
            }
            continue;
        };
        if headers.get(name).is_some_and(|have| have != value) {
            return Err(Unreadable::new(
                Reason::AmbiguousHeader,
                format!("the header {name:?} has two values"),
            ));
        }
        headers.set(name.clone(), value);
    }
    if headers
        .get(headers::TRACEPARENT)
        .is_some_and(|value| !is_traceparent(value))
    {
        headers.remove(headers::TRACEPARENT);
        headers.remove(headers::TRACESTATE);
    }
    Ok(Envelope {
        id,
        headers,
        body: incoming.body.clone(),
        native: incoming.native.clone(),
    })
}

fn read_id(bytes: Option<&[u8]>) -> Result<MessageId, Unreadable> {
    let bytes = bytes.filter(|bytes| !bytes.is_empty());
    let bytes = bytes.ok_or_else(|| Unreadable::new(Reason::MissingId, "it has no message id"))?;
    let text =
        std::str::from_utf8(bytes).map_err(|_| Unreadable::new(Reason::BadId, "its id is not UTF-8"))?;
    MessageId::new(text).map_err(|fault| Unreadable::new(Reason::BadId, fault.to_string()))
}

/// Counts what its sender wrote; what the runtime added since must not make a message unreadable.
fn has_too_many(headers: &[(String, Vec<u8>)], most: usize) -> bool {
    let most_of_all = most.saturating_add(headers::ADDED.len());
    let is_counted = |name: &str| !headers::ADDED.contains(&name);
    headers.len() > most_of_all || headers.iter().filter(|(name, _)| is_counted(name)).count() > most
}

/// Whether the value has the shape of a W3C `traceparent` (Trace Context, section 3.2): `00-32 hex-16 hex-2 hex`.
fn is_traceparent(value: &str) -> bool {
    let mut parts = value.split('-');
    let lengths = [2, 32, 16, 2];
    value.len() == 55
        && lengths.iter().all(|length| {
            parts.next().is_some_and(|part| {
                part.len() == *length
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn incoming(headers: &[(&str, &[u8])]) -> Incoming {
        Incoming {
            id: Some(b"m-1".to_vec()),
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), v.to_vec()))
                .collect(),
            body: Bytes::from_static(b"{}"),
            native: None,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better in the tests")]
    fn reason(incoming: Incoming) -> Reason {
        read(&incoming, &Limits::default())
            .expect_err("must be unreadable")
            .reason()
    }

    #[test]
    fn when_there_is_no_id_or_an_empty_one_the_reason_is_missing_id() {
        assert_eq!(
            reason(Incoming {
                id: None,
                ..incoming(&[])
            }),
            Reason::MissingId
        );
        assert_eq!(
            reason(Incoming {
                id: Some(Vec::new()),
                ..incoming(&[])
            }),
            Reason::MissingId
        );
    }

    #[test]
    fn when_the_id_is_not_text_or_holds_control_characters_the_reason_is_bad_id() {
        for id in [&b"\xff\xfe"[..], b"a\r\nb", b"a\0", b"\x1b[31m"] {
            assert_eq!(
                reason(Incoming {
                    id: Some(id.to_vec()),
                    ..incoming(&[])
                }),
                Reason::BadId
            );
        }
    }

    #[test]
    fn when_a_header_has_two_different_values_it_is_ambiguous() {
        assert_eq!(
            reason(incoming(&[("a", b"1"), ("a", b"2")])),
            Reason::AmbiguousHeader
        );
        assert!(read(&incoming(&[("a", b"1"), ("a", b"1")]), &Limits::default()).is_ok());
    }

    #[test]
    fn when_there_are_too_many_or_too_long_headers_it_is_too_large() {
        let many: Vec<(String, Vec<u8>)> = (0..10_000).map(|n| (n.to_string(), Vec::new())).collect();
        assert_eq!(
            reason(Incoming {
                headers: many,
                ..incoming(&[])
            }),
            Reason::TooLarge
        );
        assert_eq!(reason(incoming(&[("a", &vec![b'x'; 1 << 20])])), Reason::TooLarge);
    }

    #[test]
    fn when_the_runtime_added_headers_to_a_message_with_as_many_as_are_allowed_it_is_read() {
        let full: Vec<(String, Vec<u8>)> = (0..64).map(|n| (n.to_string(), Vec::new())).collect();
        let with = |more: &[&str]| {
            let more = more.iter().map(|name| ((*name).to_owned(), Vec::new()));
            let headers = full.iter().cloned().chain(more).collect();
            let incoming = Incoming {
                headers,
                ..incoming(&[])
            };
            read(&incoming, &Limits::default()).map_err(|fault| fault.reason())
        };
        // A body that is elsewhere has to be fetched first.
        let added = headers::ADDED.into_iter().filter(|name| *name != headers::BODY);
        assert!(with(&added.collect::<Vec<_>>()).is_ok());
        assert_eq!(with(&["one-more"]), Err(Reason::TooLarge));
        assert_eq!(with(&[headers::GENERATION; 1000]), Err(Reason::TooLarge));
    }

    #[test]
    fn when_the_body_is_over_the_limit_it_is_too_large() {
        let body = Bytes::from(vec![b' '; (1 << 20) + 1]);
        assert_eq!(
            reason(Incoming {
                body,
                ..incoming(&[])
            }),
            Reason::TooLarge
        );
    }

    #[test]
    fn when_a_header_of_ours_is_not_text_the_message_is_unreadable_and_others_are_left_out() {
        assert_eq!(reason(incoming(&[("longhaul.type", b"\xff")])), Reason::BadHeader);
        let envelope = read(&incoming(&[("theirs", b"\xff")]), &Limits::default()).expect("readable");
        assert_eq!(envelope.headers.get("theirs"), None);
    }

    #[test]
    fn when_the_trace_context_is_malformed_it_is_dropped_and_the_message_is_kept() {
        for bad in [
            "",
            "nonsense",
            &"0".repeat(5000),
            "00-4bf92f3577b34da6a3ce929d0e0e473G-00f067aa0ba902b7-01",
        ] {
            let pair = [("traceparent", bad.as_bytes()), ("tracestate", b"a=b".as_slice())];
            let envelope = read(&incoming(&pair), &Limits::default()).expect("readable");
            assert_eq!(envelope.headers.get("traceparent"), None);
            assert_eq!(envelope.headers.get("tracestate"), None);
        }
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let envelope =
            read(&incoming(&[("traceparent", good.as_bytes())]), &Limits::default()).expect("readable");
        assert_eq!(envelope.headers.get("traceparent"), Some(good));
    }

    #[test]
    fn when_five_hundred_types_are_listed_the_message_is_unreadable() {
        let list = vec!["t"; 500].join(",");
        let envelope = read(
            &incoming(&[("longhaul.type", list.as_bytes())]),
            &Limits::default(),
        )
        .expect("readable");
        assert_eq!(
            envelope.types().expect_err("too many").reason(),
            Reason::BadHeader
        );
    }

    #[test]
    fn when_the_due_time_is_not_a_time_the_reason_is_bad_delay() {
        for text in [
            "NaN",
            "inf",
            "9223372036854775807",
            "2026-11-21T10:00:00+02:00",
            "2026-06-30T23:59:60Z",
        ] {
            let envelope = read(
                &incoming(&[("longhaul.due", text.as_bytes())]),
                &Limits::default(),
            )
            .expect("readable");
            assert_eq!(envelope.due().expect_err("not a time").reason(), Reason::BadDelay);
        }
    }
}
