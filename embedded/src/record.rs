//! How an entry lies in the tree: the bytes of its key and of its value.
//!
//! A value of up to [`PIECE_BYTES`] lies inline. A longer one is cut into pieces under keys of their own, because the
//! engine moves a page that grows beyond about 128 KiB into a file of its own, which the sync of the writer does not
//! cover. A page holds some twenty entries; twenty of the longest key and the longest piece stay below that.

use bytes::Bytes;

/// Lead byte of the engine's own keys.
const META: u8 = 0;
/// Lead byte of the keys of users.
pub(crate) const DATA: u8 = 1;
/// Lead byte of the keys of pieces.
const PIECE: u8 = 2;

/// The longest value that lies in one entry.
pub(crate) const PIECE_BYTES: usize = 4_096;

/// Where the [`Head`](crate::tally::Head) is kept.
pub(crate) const HEAD_KEY: &[u8] = &[META, b'h'];

const INLINE: u8 = 0;
const IN_PIECES: u8 = 1;

/// Names the pieces of one value: the group that wrote it, and which of the long values of that group it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PieceId {
    pub(crate) sequence: u64,
    pub(crate) ordinal: u32,
}

/// An entry as the tree holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Inline(Bytes),
    InPieces { id: PieceId, bytes: u64 },
}

/// Why a value could not be put together.
#[derive(Debug)]
pub(crate) enum LoadError {
    Engine(sled::Error),
    /// The entry is not one that this library wrote.
    Malformed,
}

impl From<sled::Error> for LoadError {
    fn from(error: sled::Error) -> Self {
        Self::Engine(error)
    }
}

impl Record {
    pub(crate) fn decode(raw: &Bytes) -> Option<Self> {
        match *raw.first()? {
            INLINE => Some(Self::Inline(raw.slice(1..))),
            IN_PIECES => {
                let (sequence, rest) = raw.get(1..)?.split_first_chunk()?;
                let (ordinal, rest) = rest.split_first_chunk()?;
                let (bytes, rest) = rest.split_first_chunk()?;
                let id = PieceId {
                    sequence: u64::from_be_bytes(*sequence),
                    ordinal: u32::from_be_bytes(*ordinal),
                };
                rest.is_empty().then_some(Self::InPieces {
                    id,
                    bytes: u64::from_be_bytes(*bytes),
                })
            }
            _ => None,
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        match self {
            Self::Inline(value) => [&[INLINE], value.as_ref()].concat().into(),
            Self::InPieces { id, bytes } => {
                let mut raw = vec![IN_PIECES];
                raw.extend(id.sequence.to_be_bytes());
                raw.extend(id.ordinal.to_be_bytes());
                raw.extend(bytes.to_be_bytes());
                raw.into()
            }
        }
    }

    /// The keys of the pieces, in order; none when the value lies inline.
    pub(crate) fn piece_keys(&self) -> impl Iterator<Item = Bytes> + use<> {
        let (id, count) = match self {
            Self::Inline(_) => (
                PieceId {
                    sequence: 0,
                    ordinal: 0,
                },
                0,
            ),
            Self::InPieces { id, bytes } => (*id, bytes.div_ceil(PIECE_BYTES as u64)),
        };
        (0..count).map(move |index| {
            let mut key = vec![PIECE];
            key.extend(id.sequence.to_be_bytes());
            key.extend(id.ordinal.to_be_bytes());
            key.extend(index.to_be_bytes());
            key.into()
        })
    }

    /// The value, its pieces read with `fetch`.
    pub(crate) fn load(
        self,
        fetch: impl Fn(&[u8]) -> Result<Option<Bytes>, sled::Error>,
    ) -> Result<Bytes, LoadError> {
        let keys = self.piece_keys();
        let wanted = match self {
            Self::Inline(value) => return Ok(value),
            Self::InPieces { bytes, .. } => bytes,
        };
        let mut value = Vec::new();
        for key in keys {
            value.extend_from_slice(&fetch(&key)?.ok_or(LoadError::Malformed)?);
        }
        if value.len() as u64 == wanted {
            Ok(value.into())
        } else {
            Err(LoadError::Malformed)
        }
    }
}

/// The key in the tree for a key of a user.
pub(crate) fn data_key(key: &[u8]) -> Bytes {
    [&[DATA], key].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_record_is_written_and_read_back() {
        let long = Record::InPieces {
            id: PieceId {
                sequence: 7,
                ordinal: 3,
            },
            bytes: 9_000,
        };
        for record in [Record::Inline(Bytes::new()), Record::Inline("x".into()), long] {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn when_the_stored_bytes_are_not_a_record() {
        for raw in [&b""[..], &[2], &[1, 0, 0], &[1; 22]] {
            assert_eq!(Record::decode(&Bytes::copy_from_slice(raw)), None, "{raw:?}");
        }
    }

    #[test]
    fn when_a_value_fills_its_last_piece_exactly() {
        let record = Record::InPieces {
            id: PieceId {
                sequence: 1,
                ordinal: 0,
            },
            bytes: 2 * PIECE_BYTES as u64,
        };
        assert_eq!(record.piece_keys().count(), 2);
    }
}
