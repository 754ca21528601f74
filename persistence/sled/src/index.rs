//! What is in memory of the pending rows: where each stands, and who has claimed it until when.
//!
//! It mirrors what is durable, so it needs no keys of its own in the database, and is read from there at the start.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{PendingKind, PendingRow, Sizes};

/// Where a row stands in the listing: parked ones last, else the earliest first.
type Place = (bool, Timestamp, MessageId);

/// What is kept in memory of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) attention: Timestamp,
    pub(crate) token: u64,
    kind: PendingKind,
    parked: bool,
}

impl Entry {
    /// A row that is there and can't be read: set aside, for nobody can send it.
    pub(crate) const UNREADABLE: Self = Self {
        attention: Timestamp::MAX,
        token: u64::MAX,
        kind: PendingKind::Message,
        parked: true,
    };

    pub(crate) fn of(row: &PendingRow) -> Self {
        Self {
            attention: row.attention,
            token: row.token,
            kind: row.kind,
            parked: row.parked.is_some(),
        }
    }

    fn place(&self, id: &MessageId) -> Place {
        (self.parked, self.attention, id.clone())
    }

    fn counter<'a>(&self, sizes: &'a mut Sizes) -> &'a mut u64 {
        match (self.parked, self.kind) {
            (true, _) => &mut sizes.parked,
            (false, PendingKind::Message) => &mut sizes.unsent,
            (false, PendingKind::Timeout) => &mut sizes.timeouts,
        }
    }
}

/// Whoever claims: one opened store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimant(pub(crate) u64);

#[derive(Debug, Clone, Copy)]
struct Lease {
    until: Timestamp,
    of: Claimant,
}

/// Which rows were claimed, and when to look again.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) ids: Vec<MessageId>,
    pub(crate) next: Option<Timestamp>,
}

/// The pending rows that are durable, without what is in them.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: HashMap<MessageId, Entry>,
    places: BTreeSet<Place>,
    leases: HashMap<MessageId, Lease>,
    sizes: Sizes,
}

impl Index {
    pub(crate) fn get(&self, id: &MessageId) -> Option<Entry> {
        self.entries.get(id).copied()
    }

    /// Notes what became of a row, and ends the claim on it.
    pub(crate) fn set(&mut self, id: MessageId, entry: Option<Entry>) {
        self.leases.remove(&id);
        if let Some(old) = self.entries.remove(&id) {
            self.places.remove(&old.place(&id));
            *old.counter(&mut self.sizes) -= 1;
        }
        if let Some(entry) = entry {
            self.places.insert(entry.place(&id));
            *entry.counter(&mut self.sizes) += 1;
            self.entries.insert(id, entry);
        }
    }

    /// Claims rows whose time has come, the earliest first.
    pub(crate) fn claim(&mut self, of: Claimant, now: Timestamp, lease: Duration, limit: usize) -> Due {
        let mut due = Due::default();
        for (parked, attention, id) in &self.places {
            // Rows come by the time they want attention, so nothing behind this one can be earlier than `next`.
            if *parked || due.next.is_some_and(|next| next <= *attention) {
                break;
            }
            let wanted = self
                .leases
                .get(id)
                .map_or(*attention, |lease| lease.until.max(*attention));
            if wanted <= now && due.ids.len() < limit {
                due.ids.push(id.clone());
            } else {
                due.next = Some(due.next.map_or(wanted, |next| next.min(wanted)));
            }
        }
        let until = now + lease;
        self.leases
            .extend(due.ids.iter().map(|id| (id.clone(), Lease { until, of })));
        due
    }

    /// Ends all claims of one claimant.
    pub(crate) fn release(&mut self, claimant: Claimant) {
        self.leases.retain(|_, lease| lease.of != claimant);
    }

    /// The rows behind `after` in the order of the listing.
    pub(crate) fn listed(&self, after: Option<&PendingRow>, limit: usize) -> Vec<MessageId> {
        let low = after.map_or(Bound::Unbounded, |row| {
            Bound::Excluded(Entry::of(row).place(&row.id))
        });
        let places = self.places.range((low, Bound::Unbounded));
        places.take(limit).map(|(_, _, id)| id.clone()).collect()
    }

    /// The counts of the rows; the others are zero.
    pub(crate) const fn sizes(&self) -> Sizes {
        self.sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> MessageId {
        MessageId::new(text).expect("a good id")
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn entry(attention: Timestamp) -> Entry {
        Entry {
            attention,
            parked: false,
            ..Entry::UNREADABLE
        }
    }

    #[test]
    fn when_whoever_claimed_is_gone_its_rows_are_free() {
        let mut index = Index::default();
        index.set(id("a"), Some(entry(at(1))));
        index.set(id("b"), Some(entry(at(2))));
        let lease = Duration::from_secs(60);
        assert_eq!(index.claim(Claimant(1), at(1), lease, 9).ids, [id("a")]);
        assert_eq!(index.claim(Claimant(2), at(2), lease, 9).ids, [id("b")]);
        index.release(Claimant(1));
        assert_eq!(index.claim(Claimant(3), at(2), lease, 9).ids, [id("a")]);
    }

    #[test]
    fn when_a_row_cannot_be_read_it_is_counted_and_never_claimed() {
        let mut index = Index::default();
        index.set(id("a"), Some(Entry::UNREADABLE));
        assert_eq!(index.sizes().parked, 1);
        assert_eq!(
            index.claim(Claimant(1), Timestamp::MAX, Duration::ZERO, 9).ids,
            []
        );
        index.set(id("a"), None);
        assert_eq!(index.sizes(), Sizes::default());
    }

    #[test]
    fn when_a_lease_ends_before_the_next_row_is_due_the_relay_comes_then() {
        let mut index = Index::default();
        index.set(id("a"), Some(entry(at(1))));
        index.set(id("b"), Some(entry(at(100))));
        let lease = Duration::from_secs(9);
        assert_eq!(index.claim(Claimant(1), at(1), lease, 9).next, Some(at(100)));
        assert_eq!(index.claim(Claimant(1), at(1), lease, 9).next, Some(at(10)));
        assert_eq!(index.claim(Claimant(1), at(10), Duration::ZERO, 9).ids, [id("a")]);
    }
}
