//! Ids as arguments: message ids, how they derive from one another, and the source of randomness.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::clock::Timestamp;

/// Names one message for good: every copy and every retry of it carries the same id.
///
/// Any text of 1 to [`MessageId::MAX_BYTES`] bytes without control characters; compared byte by byte. Our
/// own ids are UUIDs: version 7 for a first message, version 5 for one that another message caused.
///
/// ```
/// use longhaul_core::ids::MessageId;
/// assert!(MessageId::new("order-7").is_ok());
/// assert!(MessageId::new("order\r\n7").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// The longest id in bytes.
    pub const MAX_BYTES: usize = 200;

    /// Checks and takes an id.
    ///
    /// # Errors
    /// Empty, longer than [`MessageId::MAX_BYTES`] bytes, or with control characters.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(InvalidId("is empty"));
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidId("is longer than 200 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidId("contains control characters"));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Uuid> for MessageId {
    fn from(uuid: Uuid) -> Self {
        let mut buffer = Uuid::encode_buffer();
        Self(Arc::from(&*uuid.hyphenated().encode_lower(&mut buffer)))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// A text that can't be a message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidId(&'static str);

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read the message id: it {}", self.0)
    }
}

impl std::error::Error for InvalidId {}

/// Where randomness comes from: jitter and the ids of first messages.
pub trait Randomness: fmt::Debug + Send + Sync + 'static {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the system for randomness"
    )]
    fn next_u64(&self) -> u64 {
        // A version 4 UUID fixes six bits, all of them outside the last seven bytes and the fourth byte.
        let bytes = Uuid::new_v4().into_bytes();
        u64::from_le_bytes([
            bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15], bytes[3],
        ])
    }
}

/// Repeatable randomness from a seed (`SplitMix64`, Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug)]
pub struct SeededRandomness(AtomicU64);

impl SeededRandomness {
    /// The sequence that `seed` names.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Randomness for SeededRandomness {
    fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// A new id for a first message: UUID version 7 (RFC 9562), ordered by time.
#[must_use]
pub fn new_message_id(now: Timestamp, randomness: &dyn Randomness) -> MessageId {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&randomness.next_u64().to_le_bytes());
    random[8..].copy_from_slice(&randomness.next_u64().to_le_bytes()[..2]);
    let millis = u64::try_from(now.as_micros() / 1000).unwrap_or(0);
    MessageId::from(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

/// The namespace of all derived ids; changing it changes every id that an endpoint sends.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_7a52_8d43_4b6e_9a0f_35c2_d1e4_7b90);

/// The id of a message that follows from others: UUID version 5 over the parts, each with its length in front.
///
/// The same parts always give the same id, and no two different lists of parts are spelled alike.
///
/// ```
/// use longhaul_core::ids::derived_message_id;
/// assert_ne!(derived_message_id(&["ab", "c"], 0), derived_message_id(&["a", "bc"], 0));
/// ```
#[must_use]
pub fn derived_message_id(parts: &[&str], ordinal: u64) -> MessageId {
    let mut name = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum::<usize>() + 8);
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    name.extend_from_slice(&ordinal.to_be_bytes());
    MessageId::from(Uuid::new_v5(&NAMESPACE, &name))
}

/// The id of a failed message that an operator has edited: the same edit, made twice, is the same message.
#[must_use]
pub fn edited_message_id(old: &str, body: &[u8]) -> MessageId {
    derived_message_id(&["edit", old, &String::from_utf8_lossy(body)], 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_an_id_is_empty_too_long_or_holds_control_characters_it_is_refused() {
        for text in ["", "a\0b", "a\u{1b}[31m", "a\r\nb", &"x".repeat(201)] {
            assert!(MessageId::new(text).is_err(), "{text:?}");
        }
        assert!(MessageId::new("x".repeat(200)).is_ok());
    }

    #[test]
    fn when_ids_differ_only_in_case_or_unicode_form_they_are_different() {
        assert_ne!(MessageId::new("A"), MessageId::new("a"));
        assert_ne!(MessageId::new("\u{e9}"), MessageId::new("e\u{301}"));
    }

    #[test]
    fn when_an_id_is_derived_again_it_is_the_same_for_ever() {
        assert_eq!(
            derived_message_id(&["in", "sales", "order"], 3).as_str(),
            "f6272230-d0b6-50a1-8e43-498bbac0d032"
        );
    }

    #[test]
    fn when_two_first_messages_are_named_at_one_instant_their_ids_differ() {
        let randomness = SeededRandomness::new(7);
        let now = Timestamp::UNIX_EPOCH;
        assert_ne!(new_message_id(now, &randomness), new_message_id(now, &randomness));
    }
}
