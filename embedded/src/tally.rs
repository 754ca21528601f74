//! A sum over all entries, kept with the data, that shows at the next open whether any of them is missing or old.
//!
//! The engine notices damage in what it reads, but it skips some of what it cannot read while it rebuilds itself.
//! The sum does not depend on the order of the entries, so a group changes it by what the group changes. It guards
//! against accidents, not against somebody who wants it to match.

use std::fmt;

/// How many entries there are, and the sum of their fingerprints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    entries: u64,
    sum: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, key: &[u8], raw: &[u8]) {
        self.entries = self.entries.wrapping_add(1);
        self.sum = self.sum.wrapping_add(fingerprint(key, raw));
    }

    pub(crate) fn remove(&mut self, key: &[u8], raw: &[u8]) {
        self.entries = self.entries.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(fingerprint(key, raw));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries with sum {:016x}", self.entries, self.sum)
    }
}

/// What is known of the database as a whole: it is written with every group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number of the last group.
    pub(crate) sequence: u64,
    pub(crate) tally: Tally,
}

impl Head {
    pub(crate) fn encode(self) -> Vec<u8> {
        [self.sequence, self.tally.entries, self.tally.sum]
            .map(u64::to_be_bytes)
            .concat()
    }

    pub(crate) fn decode(raw: &[u8]) -> Option<Self> {
        let (sequence, rest) = raw.split_first_chunk()?;
        let (entries, rest) = rest.split_first_chunk()?;
        let sum = rest.try_into().ok()?;
        let tally = Tally {
            entries: u64::from_be_bytes(*entries),
            sum: u64::from_be_bytes(sum),
        };
        Some(Self {
            sequence: u64::from_be_bytes(*sequence),
            tally,
        })
    }
}

/// Part of the stored format: it must never change.
fn fingerprint(key: &[u8], raw: &[u8]) -> u64 {
    let mut state = mixed(key.len() as u64);
    for part in [key, raw] {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            state = mixed(state ^ u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        state = mixed(state ^ u64::from_le_bytes(last) ^ ((rest.len() as u64) << 60));
    }
    state
}

/// The finalizer of `splitmix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_entries_come_and_go_in_another_order() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.add(b"a", b"1");
        one.add(b"b", b"2");
        other.add(b"b", b"3");
        other.add(b"b", b"2");
        other.remove(b"b", b"3");
        other.add(b"a", b"1");
        assert_eq!(one, other);
    }

    #[test]
    fn when_entries_differ_a_little() {
        let alike: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b"", b"\0"),
            (b"\0", b""),
            (b"a", b"b"),
            (b"ab", b""),
            (b"a", b"b\0"),
            (b"", b"12345678"),
        ];
        let mut prints: Vec<u64> = alike.iter().map(|(key, raw)| fingerprint(key, raw)).collect();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), alike.len());
    }

    #[test]
    fn when_the_stored_format_would_change() {
        assert_eq!(
            fingerprint(b"order/7", b"a value of some length"),
            0x9141_8f61_9f48_8a5c
        );
    }

    #[test]
    fn when_a_head_is_written_and_read_back() {
        let head = Head {
            sequence: 7,
            tally: Tally {
                entries: 3,
                sum: u64::MAX,
            },
        };
        assert_eq!(Head::decode(&head.encode()), Some(head));
        assert_eq!(Head::decode(b"short"), None);
    }
}
