//! What a FIFO queue is told of a message: its group, and which copy it is.

use longhaul_core::{
    clock::Timestamp,
    envelope::{Envelope, Incoming},
    headers::Headers,
    ids::{MessageId, derived_message_id},
    ordering,
};

/// The longest name of a group at SQS.
const GROUP_CHARACTERS: usize = 128;

/// Where a message stands in a FIFO queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Messages of one group come one after the other.
    pub(crate) group: String,
    /// SQS drops what it has had within five minutes under the same one.
    pub(crate) deduplication: String,
}

impl Standing {
    /// That of a message of ours.
    pub(crate) fn of(envelope: &Envelope) -> Self {
        Self {
            group: fitting(&ordering::group(envelope)),
            deduplication: ordering::copy(envelope).as_str().to_owned(),
        }
    }

    /// The same for a message that was delayed: sent again for another time it is another one.
    pub(crate) fn due(self, due: Timestamp) -> Self {
        let deduplication = fitting(&format!("{}.{}", self.deduplication, due.as_micros()));
        Self {
            deduplication,
            ..self
        }
    }

    /// That of a message that came in, by the name that SQS gave it where it does not say who it is.
    pub(crate) fn of_incoming(incoming: &Incoming, native: &str) -> Self {
        envelope(incoming).map_or_else(
            || Self {
                group: fitting(native),
                deduplication: fitting(native),
            },
            |envelope| Self::of(&envelope),
        )
    }
}

/// As much of a message as matters here.
fn envelope(incoming: &Incoming) -> Option<Envelope> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let id = MessageId::new(text(incoming.id.as_deref()?)?).ok()?;
    let pairs = incoming.headers.iter();
    let headers: Option<Vec<(String, String)>> = pairs
        .map(|(name, value)| Some((name.clone(), text(value)?)))
        .collect();
    let headers = headers?.into_iter().collect::<Headers>();
    Some(Envelope::new(id, headers, incoming.body.clone()))
}

/// The name itself, if SQS takes it; else one that follows from it.
fn fitting(name: &str) -> String {
    let fits =
        (1..=GROUP_CHARACTERS).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        return name.to_owned();
    }
    derived_message_id(&["group", name], 0).as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use longhaul_core::headers;

    use super::*;

    fn keyed(key: &str) -> Envelope {
        let headers: Headers = [(headers::ORDERING_KEY, key)].into_iter().collect();
        Envelope::new(MessageId::new("m-1").unwrap(), headers, "{}".into())
    }

    #[test]
    fn when_a_group_has_a_name_that_sqs_refuses_it_has_another_of_its_own() {
        assert_eq!(Standing::of(&keyed("order-7")).group, "order-7");
        let long = "x".repeat(129);
        let odd = ["a b", "größe", "", long.as_str()];
        let mut groups = odd.map(|key| Standing::of(&keyed(key)).group);
        for group in &groups {
            assert!((1..=128).contains(&group.len()), "{group}");
            assert!(group.bytes().all(|byte| byte.is_ascii_graphic()), "{group}");
        }
        groups.sort();
        assert!(groups.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn when_a_message_comes_in_it_stands_where_it_was_sent_to() {
        let envelope = keyed("order-7");
        let incoming = Incoming::from(envelope.clone());
        assert_eq!(Standing::of_incoming(&incoming, "sqs-1"), Standing::of(&envelope));
        let foreign = Incoming { id: None, ..incoming };
        let standing = Standing::of_incoming(&foreign, "sqs-1");
        assert_eq!(
            (standing.group.as_str(), standing.deduplication.as_str()),
            ("sqs-1", "sqs-1")
        );
    }
}
