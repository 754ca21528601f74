//! How queues, subscriptions and messages are stored: a version byte, then postcard.

use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Incoming;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::content::Content;

/// The version that is written. Every version ever released stays readable.
const VERSION: u8 = 1;

/// A body of more than this is stored under a key of its own, so that the limit on values is one on bodies.
pub(crate) const INLINE_BODY_BYTES: usize = 64 * 1024;

/// Why stored bytes can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// A newer version of this crate wrote them.
    Newer(u8),
    /// They are not what was written.
    Damaged,
}

/// Bytes that are stored in one piece, not one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = &'de [u8];

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Borrow).map(Raw)
    }
}

/// A message as it was accepted. Never changes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredMessage<'a> {
    #[serde(borrow)]
    id: Option<Raw<'a>>,
    #[serde(borrow)]
    headers: Vec<(&'a str, Raw<'a>)>,
    /// `None`: it is stored apart.
    #[serde(borrow)]
    body: Option<Raw<'a>>,
    /// In microseconds since the epoch, like all times here.
    due: Option<i64>,
    accepted: i64,
}

impl<'a> StoredMessage<'a> {
    pub(crate) fn new(content: &'a Content, due: Option<Timestamp>, accepted: Timestamp) -> Self {
        let headers = match content {
            Content::Envelope(envelope) => {
                let headers = envelope.headers.iter();
                headers
                    .map(|(name, value)| (name, Raw(value.as_bytes())))
                    .collect()
            }
            Content::Raw(incoming) => {
                let headers = incoming.headers.iter();
                headers.map(|(name, value)| (name.as_str(), Raw(value))).collect()
            }
        };
        let body = content.body();
        Self {
            id: content.id().map(Raw),
            headers,
            body: (body.len() <= INLINE_BODY_BYTES).then_some(Raw(body)),
            due: due.map(Timestamp::as_micros),
            accepted: accepted.as_micros(),
        }
    }

    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.due.map(Timestamp::from_micros)
    }

    pub(crate) const fn accepted(&self) -> Timestamp {
        Timestamp::from_micros(self.accepted)
    }

    /// Whether the body is stored under a key of its own.
    pub(crate) const fn body_is_apart(&self) -> bool {
        self.body.is_none()
    }

    /// The message, with `apart` for a body stored apart.
    pub(crate) fn content(&self, apart: bytes::Bytes) -> Content {
        Content::Raw(Incoming {
            id: self.id.map(|id| id.0.to_vec()),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.0.to_vec()))
                .collect(),
            body: self
                .body
                .map_or(apart, |body| bytes::Bytes::copy_from_slice(body.0)),
            native: None,
        })
    }
}

/// What changes of a message while it waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredProgress {
    /// How often it was handed out, as far as that was stored.
    pub(crate) deliveries: u32,
    /// Not before this time, in place of the one it came with.
    released_until: Option<i64>,
}

impl StoredProgress {
    pub(crate) fn new(deliveries: u32, released_until: Option<Timestamp>) -> Self {
        Self {
            deliveries,
            released_until: released_until.map(Timestamp::as_micros),
        }
    }

    pub(crate) fn released_until(&self) -> Option<Timestamp> {
        self.released_until.map(Timestamp::from_micros)
    }
}

/// The bytes to store.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    // Serializing these types into memory has no way to fail; were it to, reading would call the entry damaged.
    postcard::to_extend(value, vec![VERSION]).unwrap_or_default()
}

/// Reads stored bytes, all of them.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Unusable> {
    let (version, rest) = bytes.split_first().ok_or(Unusable::Damaged)?;
    if *version > VERSION {
        return Err(Unusable::Newer(*version));
    }
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) if *version == VERSION => Ok(value),
        Ok(_) | Err(_) => Err(Unusable::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn raw() -> Content {
        Content::Raw(Incoming {
            id: Some(vec![0xff]),
            headers: vec![("a".to_owned(), vec![0xfe]), ("a".to_owned(), Vec::new())],
            body: Bytes::from_static(b"body"),
            native: None,
        })
    }

    #[test]
    fn when_a_message_is_stored_it_reads_back_and_its_bytes_stay_the_same_for_ever() {
        let content = raw();
        let stored = StoredMessage::new(
            &content,
            Some(Timestamp::from_micros(64)),
            Timestamp::from_micros(-1),
        );
        let bytes = encode(&stored);
        assert_eq!(
            bytes,
            b"\x01\x01\x01\xff\x02\x01a\x01\xfe\x01a\x00\x01\x04body\x01\x80\x01\x01"
        );
        assert_eq!(decode(&bytes), Ok(stored));
    }

    #[test]
    fn when_progress_is_stored_its_bytes_stay_the_same_for_ever() {
        let stored = StoredProgress::new(300, Some(Timestamp::from_micros(1)));
        assert_eq!(encode(&stored), b"\x01\xac\x02\x01\x02");
        assert_eq!(decode(&encode(&stored)), Ok(stored));
    }

    #[test]
    fn when_a_body_is_large_it_is_kept_apart() {
        let content = Content::Raw(Incoming {
            id: None,
            headers: Vec::new(),
            body: Bytes::from(vec![7; INLINE_BODY_BYTES + 1]),
            native: None,
        });
        let stored = StoredMessage::new(&content, None, Timestamp::UNIX_EPOCH);
        assert!(stored.body_is_apart());
        assert!(encode(&stored).len() < 16);
    }

    #[test]
    fn when_bytes_are_newer_cut_or_too_many_they_are_not_used() {
        let good = encode(&StoredProgress::new(1, None));
        assert_eq!(decode::<StoredProgress>(b"\x02"), Err(Unusable::Newer(2)));
        for bad in [
            &b""[..],
            &good[..good.len() - 1],
            &[&good[..], b"x"].concat(),
            b"\x00\x00\x00",
        ] {
            assert_eq!(decode::<StoredProgress>(bad), Err(Unusable::Damaged), "{bad:?}");
        }
    }
}
