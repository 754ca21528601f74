//! What one endpoint keeps: inbox, records and pending rows, each in a fixed order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{
    Claimed, InboxState, LoadRequest, Loaded, PendingKind, PendingRow, Record, RecordKey, Sizes,
};

/// Whoever claims: one opened store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimant(u64);

#[derive(Debug, Clone, Copy)]
struct Lease {
    until: Timestamp,
    of: Claimant,
}

/// Where a row stands in the listing: parked ones last, else the earliest first.
type Place = (bool, Timestamp, MessageId);

/// A record without its name.
#[derive(Debug, Clone)]
pub(crate) struct StoredRecord {
    pub(crate) version: u64,
    pub(crate) body: Bytes,
    pub(crate) expires: Option<Timestamp>,
}

impl StoredRecord {
    /// Whether it counts as absent at `now`.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn named(&self, key: RecordKey) -> Record {
        Record {
            key,
            version: self.version,
            body: self.body.clone(),
            expires: self.expires,
        }
    }
}

/// A state and when it was reached.
pub(crate) type InboxEntry = (InboxState, Timestamp);

/// What one endpoint keeps.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    inbox: BTreeMap<MessageId, InboxEntry>,
    records: BTreeMap<RecordKey, StoredRecord>,
    pending: BTreeMap<MessageId, PendingRow>,
    places: BTreeSet<Place>,
    leases: BTreeMap<MessageId, Lease>,
    claimants: u64,
}

impl Tables {
    pub(crate) fn load(&self, request: &LoadRequest) -> Loaded {
        let record = |key: &RecordKey| {
            let stored = self
                .records
                .get(key)
                .filter(|stored| !stored.is_expired(request.now))?;
            Some(stored.named(key.clone()))
        };
        Loaded {
            inbox: self.inbox(&request.inbox).map(|(state, _)| state),
            records: request.records.iter().map(record).collect(),
            pending: request.pending.as_ref().and_then(|id| self.pending(id)).cloned(),
        }
    }

    pub(crate) fn inbox(&self, id: &MessageId) -> Option<InboxEntry> {
        self.inbox.get(id).copied()
    }

    pub(crate) fn record(&self, key: &RecordKey) -> Option<&StoredRecord> {
        self.records.get(key)
    }

    pub(crate) fn pending(&self, id: &MessageId) -> Option<&PendingRow> {
        self.pending.get(id)
    }

    pub(crate) fn set_inbox(&mut self, id: MessageId, entry: Option<InboxEntry>) {
        match entry {
            Some(entry) => self.inbox.insert(id, entry),
            None => self.inbox.remove(&id),
        };
    }

    pub(crate) fn set_record(&mut self, key: RecordKey, record: Option<StoredRecord>) {
        match record {
            Some(record) => self.records.insert(key, record),
            None => self.records.remove(&key),
        };
    }

    /// Notes what became of a row, and ends the claim on it.
    pub(crate) fn set_pending(&mut self, id: MessageId, row: Option<PendingRow>) {
        self.leases.remove(&id);
        if let Some(old) = self.pending.remove(&id) {
            self.places.remove(&place(&old));
        }
        if let Some(row) = row {
            self.places.insert(place(&row));
            self.pending.insert(id, row);
        }
    }

    /// A number for a store that is being opened.
    pub(crate) fn new_claimant(&mut self) -> Claimant {
        self.claimants += 1;
        Claimant(self.claimants)
    }

    /// Ends all claims of one claimant.
    pub(crate) fn release(&mut self, claimant: Claimant) {
        self.leases.retain(|_, lease| lease.of != claimant);
    }

    pub(crate) fn claim(&mut self, of: Claimant, now: Timestamp, lease: Duration, limit: usize) -> Claimed {
        let mut claimed = Claimed::default();
        for (parked, attention, id) in &self.places {
            // Rows come by the time they want attention, so nothing behind this one can be earlier than `next`.
            if *parked || claimed.next.is_some_and(|next| next <= *attention) {
                break;
            }
            let wanted = self
                .leases
                .get(id)
                .map_or(*attention, |lease| lease.until.max(*attention));
            if wanted <= now && claimed.rows.len() < limit {
                claimed.rows.extend(self.pending.get(id).cloned());
            } else {
                claimed.next = Some(claimed.next.map_or(wanted, |next| next.min(wanted)));
            }
        }
        let until = now + lease;
        let claims = claimed
            .rows
            .iter()
            .map(|row| (row.id.clone(), Lease { until, of }));
        self.leases.extend(claims);
        claimed
    }

    pub(crate) fn list_records(&self, collection: &str, after: Option<&str>, limit: usize) -> Vec<Record> {
        let low = RecordKey::new(collection, after.unwrap_or_default());
        let low = if after.is_some() {
            Bound::Excluded(low)
        } else {
            Bound::Included(low)
        };
        self.records
            .range((low, Bound::Unbounded))
            .take_while(|(key, _)| &*key.collection == collection)
            .take(limit)
            .map(|(key, stored)| stored.named(key.clone()))
            .collect()
    }

    pub(crate) fn list_pending(&self, after: Option<&PendingRow>, limit: usize) -> Vec<PendingRow> {
        let low = after.map_or(Bound::Unbounded, |row| Bound::Excluded(place(row)));
        self.places
            .range((low, Bound::Unbounded))
            .take(limit)
            .filter_map(|(_, _, id)| self.pending.get(id).cloned())
            .collect()
    }

    pub(crate) fn purge(&mut self, before: Timestamp, now: Timestamp, limit: usize) -> usize {
        let is_old = |entry: &InboxEntry| entry.0 == InboxState::Done && entry.1 < before;
        let messages = keys_where(&self.inbox, limit, is_old);
        let records = keys_where(&self.records, limit, |record| record.is_expired(now));
        let gone = messages.len() + records.len();
        messages.into_iter().for_each(|id| self.set_inbox(id, None));
        records.into_iter().for_each(|key| self.set_record(key, None));
        gone
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let mut sizes = Sizes {
            inbox: self.inbox.len() as u64,
            records: self.records.len() as u64,
            ..Sizes::default()
        };
        for row in self.pending.values() {
            match (&row.parked, row.kind) {
                (Some(_), _) => sizes.parked += 1,
                (None, PendingKind::Message) => sizes.unsent += 1,
                (None, PendingKind::Timeout) => sizes.timeouts += 1,
            }
        }
        sizes
    }
}

fn place(row: &PendingRow) -> Place {
    (row.parked.is_some(), row.attention, row.id.clone())
}

fn keys_where<K: Clone + Ord, V>(map: &BTreeMap<K, V>, limit: usize, wanted: impl Fn(&V) -> bool) -> Vec<K> {
    map.iter()
        .filter(|(_, value)| wanted(value))
        .take(limit)
        .map(|(key, _)| key.clone())
        .collect()
}
