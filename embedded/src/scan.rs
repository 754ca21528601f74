//! Which entries to read, in key order.

use std::ops::Bound;

/// A range of keys, read in ascending order: see [`Database::scan`](crate::Database::scan).
///
/// All parts narrow the range: what is read lies under the prefix, at or after every start and before every end.
///
/// ```
/// use longhaul_embedded::Scan;
///
/// let first_page = Scan::prefix(b"due/").up_to(b"due/2026-12").limit(100);
/// let second_page = Scan::prefix(b"due/").up_to(b"due/2026-12").after(b"due/2026-11-30/17").limit(100);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Scan {
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    limit: usize,
}

impl Scan {
    /// How many entries a scan returns unless [`limit`](Self::limit) says otherwise.
    pub const DEFAULT_LIMIT: usize = 1_000;

    /// Every key.
    pub fn all() -> Self {
        Self::prefix(b"")
    }

    /// Every key that starts with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self {
            low: Bound::Included(prefix.to_vec()),
            high: after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded),
            limit: Self::DEFAULT_LIMIT,
        }
    }

    /// Only keys equal to or greater than `key`.
    pub fn starting_at(mut self, key: &[u8]) -> Self {
        if low_key(&self.low) < key {
            self.low = Bound::Included(key.to_vec());
        }
        self
    }

    /// Only keys greater than `key`: the last key of one page asks for the next.
    pub fn after(mut self, key: &[u8]) -> Self {
        if low_key(&self.low) <= key {
            self.low = Bound::Excluded(key.to_vec());
        }
        self
    }

    /// Only keys less than `key`.
    pub fn up_to(mut self, key: &[u8]) -> Self {
        let narrower = match &self.high {
            Bound::Excluded(high) | Bound::Included(high) => key < high.as_slice(),
            Bound::Unbounded => true,
        };
        if narrower {
            self.high = Bound::Excluded(key.to_vec());
        }
        self
    }

    /// At most this many entries. Default [`DEFAULT_LIMIT`](Self::DEFAULT_LIMIT).
    pub fn limit(mut self, entries: usize) -> Self {
        self.limit = entries;
        self
    }

    pub(crate) fn entries(&self) -> usize {
        self.limit
    }

    /// The same range over keys that all have `lead` before them.
    pub(crate) fn under(&self, lead: u8) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let led = |key: &Vec<u8>| [&[lead], key.as_slice()].concat();
        let high = match &self.high {
            Bound::Unbounded => after_prefix(&[lead]).map_or(Bound::Unbounded, Bound::Excluded),
            bounded @ (Bound::Included(_) | Bound::Excluded(_)) => bounded.as_ref().map(led),
        };
        (self.low.as_ref().map(led), high)
    }
}

fn low_key(low: &Bound<Vec<u8>>) -> &[u8] {
    match low {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => &[],
    }
}

/// The least key that is greater than every key with this prefix; none when the prefix is all `0xff`.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=keep].to_vec();
    next[keep] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_prefix_ends_in_the_highest_byte() {
        assert_eq!(after_prefix(b"a\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }

    #[test]
    fn when_starts_and_ends_are_given_in_any_order() {
        let scan = Scan::prefix(b"a")
            .after(b"a5")
            .starting_at(b"a3")
            .up_to(b"b")
            .up_to(b"a9");
        assert_eq!(scan.low, Bound::Excluded(b"a5".to_vec()));
        assert_eq!(scan.high, Bound::Excluded(b"a9".to_vec()));
    }
}
