//! A record as it is stored: version, expiry, body.
//!
//! The version comes first, so that a commit can ask whether the stored value begins with the version it expects.

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::store::{Record, RecordKey};

use crate::seal::{FORMAT, Unreadable, seal, unseal};

/// A record without its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRecord {
    pub(crate) version: u64,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) body: Bytes,
}

/// How a stored value begins that holds a record of this version.
pub(crate) fn beginning(version: u64) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes
}

impl StoredRecord {
    /// Whether it counts as absent at `now`.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    pub(crate) fn named(self, key: RecordKey) -> Record {
        Record {
            key,
            version: self.version,
            body: self.body,
            expires: self.expires,
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = beginning(self.version);
        bytes.reserve(self.body.len() + 16);
        bytes.push(u8::from(self.expires.is_some()));
        if let Some(expires) = self.expires {
            bytes.extend_from_slice(&expires.as_micros().to_be_bytes());
        }
        bytes.extend_from_slice(&self.body);
        seal(bytes)
    }

    pub(crate) fn decode(value: &Bytes) -> Result<Self, Unreadable> {
        let bytes = unseal(value)?;
        Self::parse(&bytes).ok_or(Unreadable::Damaged)
    }

    fn parse(bytes: &Bytes) -> Option<Self> {
        let (version, rest) = bytes.split_first_chunk()?;
        let (expires, body) = match rest.split_first()? {
            (0, body) => (None, body),
            (1, rest) => {
                let (micros, body) = rest.split_first_chunk()?;
                (Some(Timestamp::from_micros(i64::from_be_bytes(*micros))), body)
            }
            _ => return None,
        };
        Some(Self {
            version: u64::from_be_bytes(*version),
            expires,
            body: bytes.slice_ref(body),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_record_is_stored_it_reads_back_and_begins_as_expected() {
        for expires in [None, Some(Timestamp::MIN), Some(Timestamp::MAX)] {
            for body in [&b""[..], b"a", &[0; 9_000]] {
                let record = StoredRecord {
                    version: 7,
                    expires,
                    body: Bytes::copy_from_slice(body),
                };
                let value = record.encode();
                assert!(value.starts_with(&beginning(7)));
                assert_eq!(StoredRecord::decode(&value), Ok(record));
            }
        }
    }

    #[test]
    fn when_the_stored_bytes_stay_the_same_from_version_to_version() {
        let record = StoredRecord {
            version: 2,
            expires: Some(Timestamp::from_micros(3)),
            body: "ab".into(),
        };
        let value = record.encode();
        let expected = [1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 3, b'a', b'b'];
        assert_eq!(value[..value.len() - 4], expected);
    }

    #[test]
    fn when_the_bytes_are_no_record_they_are_damaged() {
        for bytes in [
            &[1][..],
            &[1, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0, 1],
            &[1, 0, 0, 0, 0, 0, 0, 0, 1, 2],
        ] {
            assert_eq!(
                StoredRecord::decode(&seal(bytes.to_vec())),
                Err(Unreadable::Damaged)
            );
        }
    }
}
