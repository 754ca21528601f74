//! What is around every stored value: the version of its format in front, a checksum behind.

use std::fmt;

use bytes::Bytes;

/// The format that this version writes.
pub(crate) const FORMAT: u8 = 1;

const CHECKSUM_BYTES: usize = 4;

/// Closes a value whose first byte is [`FORMAT`].
pub(crate) fn seal(mut value: Vec<u8>) -> Bytes {
    let checksum = crc32fast::hash(&value);
    value.extend_from_slice(&checksum.to_le_bytes());
    value.into()
}

/// What lies between the version and the checksum.
pub(crate) fn unseal(value: &Bytes) -> Result<Bytes, Unreadable> {
    let (sealed, checksum) = value
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or(Unreadable::Damaged)?;
    if crc32fast::hash(sealed) != u32::from_le_bytes(*checksum) {
        return Err(Unreadable::Damaged);
    }
    match sealed.first() {
        Some(&FORMAT) => Ok(value.slice(1..sealed.len())),
        Some(_) => Err(Unreadable::Newer),
        None => Err(Unreadable::Damaged),
    }
}

/// Why a value can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is not what was written.
    Damaged,
    /// A newer version wrote it.
    Newer,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "what is stored is not what was written; restore it from a backup or remove it",
            Self::Newer => "a newer version of this library wrote it; go on with that version",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_any_bit_of_a_value_flips_it_is_noticed() {
        let sealed = seal(vec![FORMAT, 7, 8, 9]);
        assert_eq!(unseal(&sealed), Ok(Bytes::from_static(&[7, 8, 9])));
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(&bytes.into()), Err(Unreadable::Damaged));
        }
    }

    #[test]
    fn when_a_value_is_cut_it_is_noticed() {
        let sealed = seal(vec![FORMAT, 7, 8, 9]);
        for length in 0..sealed.len() {
            assert_eq!(unseal(&sealed.slice(..length)), Err(Unreadable::Damaged));
        }
    }

    #[test]
    fn when_a_newer_version_wrote_a_value_that_is_said() {
        assert_eq!(unseal(&seal(vec![FORMAT + 1, 7])), Err(Unreadable::Newer));
    }
}
