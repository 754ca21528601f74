//! Failed messages as they are sent again. Pure.

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::{self, Envelope, Incoming};
use longhaul_core::headers;
use longhaul_core::ids::edited_message_id;
use longhaul_core::limits::Limits;

/// What marks a copy as a replay, where the message does not say when it failed.
const REPLAYED: &str = "1";

/// What the runtime added for its own retries: a message that is sent again begins anew.
const OF_RETRIES: [&str; 5] = [
    headers::GENERATION,
    headers::ATTEMPTS,
    headers::FIRST_FAILURE,
    headers::PUT_OFF,
    headers::DEFERRED,
];

/// Whatever an endpoint set aside can be passed on, however large.
const LIMITS: Limits = Limits {
    headers: 10_000,
    header_bytes: 1 << 20,
    body_bytes: usize::MAX,
    json_depth: 64,
};

/// The message as it lies there, or why it can't be read so far as to be sent.
pub(crate) fn as_it_is(incoming: &Incoming) -> Result<Envelope, String> {
    envelope::read(incoming, &LIMITS).map_err(|error| error.to_string())
}

/// The same message once more: same id, same body, without the reasons why it failed.
///
/// Its mark says when it failed last: a replay that is repeated after a crash is the same copy, and the replay of its next
/// failure is another one, to brokers that drop what they have had.
pub(crate) fn replayed(incoming: &Incoming) -> Result<Envelope, String> {
    let mut envelope = as_it_is(incoming)?;
    let failure = envelope.headers.get(headers::ERROR_LAST).unwrap_or(REPLAYED);
    let failure = failure.to_owned();
    clean(&mut envelope);
    envelope.headers.set(headers::REPLAY, failure);
    Ok(envelope)
}

/// Another message with the same headers and another body, caused by the failed one.
///
/// Its id follows from the old id and the body: the same edit, made twice, is the same message.
pub(crate) fn edited(incoming: &Incoming, body: Bytes, now: Timestamp) -> Result<Envelope, String> {
    let mut envelope = as_it_is(incoming)?;
    clean(&mut envelope);
    envelope.headers.remove(headers::REPLAY);
    // The old body may have been kept elsewhere; the new one is here.
    envelope.headers.remove(headers::BODY);
    envelope.headers.set(headers::CAUSATION, envelope.id.as_str());
    envelope.headers.set(headers::TIME_SENT, now.to_string());
    envelope.id = edited_message_id(envelope.id.as_str(), &body);
    envelope.body = body;
    Ok(envelope)
}

fn clean(envelope: &mut Envelope) {
    envelope
        .headers
        .retain(|name| !name.starts_with(headers::ERROR_PREFIX) && !OF_RETRIES.contains(&name));
}

#[cfg(test)]
mod tests {
    use longhaul_core::headers::Headers;
    use longhaul_core::ids::MessageId;
    use longhaul_core::ordering::copy;

    use super::*;

    fn failed() -> Incoming {
        let headers = Headers::from_iter([
            ("longhaul.type", "billing.charge_card.v1"),
            ("longhaul.conversation", "c"),
            ("longhaul.causation", "before"),
            ("longhaul.generation", "3"),
            ("longhaul.attempts", "9"),
            ("longhaul.error.reason", "handler-failed"),
            ("longhaul.error.source-queue", "billing"),
            ("tenant", "acme"),
        ]);
        let id = MessageId::new("m-1").expect("an id");
        Envelope::new(id, headers, Bytes::from_static(b"{}")).into()
    }

    #[test]
    fn when_a_message_is_replayed_it_is_the_same_without_its_errors() {
        let again = replayed(&failed()).expect("readable");
        assert_eq!((again.id.as_str(), &again.body[..]), ("m-1", &b"{}"[..]));
        let headers: Vec<_> = again.headers.iter().collect();
        assert_eq!(
            headers,
            [
                ("longhaul.causation", "before"),
                ("longhaul.conversation", "c"),
                ("longhaul.replay", "1"),
                ("longhaul.type", "billing.charge_card.v1"),
                ("tenant", "acme"),
            ]
        );
    }

    /// A FIFO queue of SQS drops a copy that it has had within five minutes, and the original is gone by then.
    #[test]
    fn when_a_message_fails_again_after_its_replay_the_next_replay_is_another_copy() {
        let failed_at = |time: &str| {
            let mut failed = failed();
            let last = (headers::ERROR_LAST.to_owned(), time.as_bytes().to_vec());
            failed.headers.push(last);
            copy(&replayed(&failed).expect("readable"))
        };
        let (first, second) = ("2026-11-21T12:00:00Z", "2026-11-21T12:01:00Z");
        assert_eq!(
            failed_at(first),
            failed_at(first),
            "a replay that was killed and run again"
        );
        assert_ne!(failed_at(first), failed_at(second));
    }

    #[test]
    fn when_a_message_is_edited_twice_alike_it_is_one_new_message_caused_by_the_old_one() {
        let now = Timestamp::UNIX_EPOCH;
        let edit = |body: &'static [u8]| edited(&failed(), Bytes::from_static(body), now).expect("readable");
        let (first, again, other) = (edit(b"[1]"), edit(b"[1]"), edit(b"[2]"));
        assert_eq!(first, again);
        assert_ne!(first.id, other.id);
        assert_ne!(first.id.as_str(), "m-1");
        assert_eq!(first.headers.get(headers::CAUSATION), Some("m-1"));
        assert_eq!(first.headers.get(headers::REPLAY), None);
        assert_eq!(first.headers.get(headers::CONVERSATION), Some("c"));
    }

    #[test]
    fn when_its_body_is_kept_elsewhere_a_replay_says_where_and_an_edit_brings_its_own() {
        let mut failed = failed();
        failed
            .headers
            .push((headers::BODY.to_owned(), b"a-key 7".to_vec()));
        failed.body = Bytes::new();
        let again = replayed(&failed).expect("readable");
        assert_eq!(again.headers.get(headers::BODY), Some("a-key 7"));
        let edited = edited(&failed, Bytes::from_static(b"{}"), Timestamp::UNIX_EPOCH).expect("readable");
        assert_eq!(edited.headers.get(headers::BODY), None);
        assert!(edited.check_body().is_ok());
    }

    #[test]
    fn when_a_message_has_no_id_it_can_not_be_sent_again() {
        let nameless = Incoming { id: None, ..failed() };
        assert!(replayed(&nameless).is_err());
    }
}
