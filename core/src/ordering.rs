//! What a broker with groups keeps messages in order by, and which copies of a message are the same to it.
//!
//! Both follow from the message alone, so that whoever sends, passes on or replays it comes to the same.

use std::borrow::Cow;

use crate::envelope::Envelope;
use crate::headers;
use crate::ids::{MessageId, derived_message_id};

/// The group of a message: messages of one group are to be handled one after the other, in the order of sending.
///
/// That is its [ordering key](headers::ORDERING_KEY) where it has one; else the part of the receiver that it is meant for, in
/// any of its lives; else the part of the sender that it comes from; else it is alone, and its id is its group.
///
/// ```
/// use longhaul_core::envelope::Envelope;
/// use longhaul_core::headers::{self, Headers};
/// use longhaul_core::ids::MessageId;
/// use longhaul_core::ordering::group;
///
/// let mut envelope = Envelope::new(MessageId::new("m-1")?, Headers::new(), "{}".into());
/// assert_eq!(group(&envelope), "m-1");
/// envelope.headers.set(headers::ORDERING_KEY, "customer 7");
/// assert_eq!(group(&envelope), "customer 7");
/// # Ok::<(), longhaul_core::ids::InvalidId>(())
/// ```
#[must_use]
pub fn group(envelope: &Envelope) -> Cow<'_, str> {
    if let Some(key) = envelope.headers.get(headers::ORDERING_KEY) {
        return Cow::Borrowed(key);
    }
    let parts = [headers::TARGET_PREFIX, headers::ORIGINATOR_PREFIX].map(|prefix| part(envelope, prefix));
    let part = parts.into_iter().flatten().next();
    part.map_or(Cow::Borrowed(envelope.id.as_str()), Cow::Owned)
}

/// One part of an endpoint, as headers with this prefix name it.
fn part(envelope: &Envelope, prefix: &str) -> Option<String> {
    let named = envelope.headers.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(prefix)?;
        (!name.ends_with(headers::PART_LIFE)).then_some(value)
    });
    let named: Vec<&str> = named.collect();
    (!named.is_empty()).then(|| named.join("/"))
}

/// Names one copy of a message, for brokers that drop what they took a while ago under the same name.
///
/// The same message sent again, because nobody knows whether it arrived, has the same name. A retry, a replay, an alarm that
/// was moved has another one, since its headers differ: dropping it would lose it.
#[must_use]
pub fn copy(envelope: &Envelope) -> MessageId {
    let pairs = envelope.headers.iter();
    let mut parts = vec!["copy", envelope.id.as_str()];
    parts.extend(pairs.flat_map(|(name, value)| [name, value]));
    derived_message_id(&parts, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Headers;

    fn with(headers: &[(&'static str, &str)]) -> Envelope {
        let id = MessageId::new("m-1").expect("an id");
        Envelope::new(id, headers.iter().copied().collect::<Headers>(), "{}".into())
    }

    const TARGET: [(&str, &str); 3] = [
        ("longhaul.target.thing-id", "7"),
        ("longhaul.target.thing-incarnation", "m-0"),
        ("longhaul.target.thing-type", "order"),
    ];

    #[test]
    fn when_a_message_names_whom_it_is_for_that_is_its_group_in_every_life() {
        let mut target = TARGET;
        assert_eq!(group(&with(&target)), "7/order");
        target[1].1 = "m-9";
        assert_eq!(group(&with(&target)), "7/order");
    }

    #[test]
    fn when_one_part_sends_and_is_answered_both_are_of_one_group_unless_there_is_a_key() {
        let from = [
            ("longhaul.originator.thing-id", "7"),
            ("longhaul.originator.thing-type", "order"),
        ];
        assert_eq!(group(&with(&from)), group(&with(&TARGET)));
        let mut all = TARGET.to_vec();
        all.push(("longhaul.originator.thing-id", "elsewhere"));
        assert_eq!(group(&with(&all)), "7/order", "whom it is for comes first");
        all.push((headers::ORDERING_KEY, "acme"));
        assert_eq!(group(&with(&all)), "acme");
    }

    #[test]
    fn when_a_copy_is_made_on_purpose_its_name_differs_and_when_it_is_sent_again_it_does_not() {
        let first = with(&[(headers::TYPE, "t")]);
        assert_eq!(copy(&first), copy(&first.clone()));
        let on_purpose = [
            (headers::GENERATION, "1"),
            (headers::GENERATION, "2"),
            (headers::REPLAY, "1"),
            (headers::REPLAY, "2"),
            (headers::ATTEMPTS, "1"),
            (headers::DEFERRED, "1"),
            (headers::TIMEOUT_TOKEN, "1"),
        ];
        let mut names: Vec<MessageId> = on_purpose
            .iter()
            .map(|mark| copy(&with(&[(headers::TYPE, "t"), *mark])))
            .chain([copy(&first)])
            .collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), on_purpose.len() + 1);
    }
}
