//! The contract as the plainest program that keeps it, to compare a store with.

use std::collections::BTreeMap;

use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{
    InboxState, PendingChange, PendingKind, PendingRow, Record, RecordChange, RecordKey, Sizes, UnitOfWork,
};

/// What a store must hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) inbox: BTreeMap<MessageId, (InboxState, Timestamp)>,
    pub(super) records: BTreeMap<RecordKey, Record>,
    pub(super) rows: BTreeMap<MessageId, PendingRow>,
    /// Until when rows are claimed.
    leases: BTreeMap<MessageId, Timestamp>,
}

impl Model {
    /// Commits all of the unit; `false` is a conflict, which changes nothing.
    pub(super) fn commit(&mut self, work: &UnitOfWork) -> bool {
        let mut next = self.clone();
        let committed = next.apply(work).is_some();
        if committed {
            *self = next;
        }
        committed
    }

    fn apply(&mut self, work: &UnitOfWork) -> Option<()> {
        let now = work.inbox.iter().map(|change| change.at).max();
        for change in &work.inbox {
            let known = self.inbox.get(&change.id).map(|(state, _)| *state);
            holds(known == change.expected)?;
            match change.next {
                Some(next) => self.inbox.insert(change.id.clone(), (next, change.at)),
                None => self.inbox.remove(&change.id),
            };
        }
        work.records
            .iter()
            .try_for_each(|change| self.change_record(change, now))?;
        work.pending.iter().try_for_each(|change| self.change_row(change))
    }

    fn change_record(&mut self, change: &RecordChange, now: Option<Timestamp>) -> Option<()> {
        match change {
            RecordChange::Put {
                key,
                expected,
                body,
                expires,
            } => {
                let old = self.records.get(key);
                let expired = old.is_some_and(|old| now.is_some_and(|now| has_expired(old, now)));
                let version = old.map(|old| old.version);
                holds(version == *expected || (expected.is_none() && expired))?;
                let record = Record {
                    key: key.clone(),
                    version: version.unwrap_or(0) + 1,
                    body: body.clone(),
                    expires: *expires,
                };
                self.records.insert(key.clone(), record);
            }
            RecordChange::Delete { key, expected } => {
                holds(self.records.get(key).is_some_and(|old| old.version == *expected))?;
                self.records.remove(key);
            }
        }
        Some(())
    }

    fn change_row(&mut self, change: &PendingChange) -> Option<()> {
        match change {
            PendingChange::Add(row) => {
                self.rows.insert(row.id.clone(), (**row).clone());
                self.leases.remove(&row.id);
            }
            PendingChange::Sent(id) | PendingChange::Cancel(id) => {
                self.rows.remove(id);
            }
            PendingChange::Fire { id, token } => {
                holds(self.rows.get(id).is_some_and(|row| row.token == *token))?;
                self.rows.remove(id);
            }
            PendingChange::Move { id, due, attention } => {
                holds(self.rows.contains_key(id))?;
                self.with_row(id, |row| {
                    (row.due, row.attention) = (Some(*due), *attention);
                    (row.token, row.alarm_sent, row.parked) = (row.token + 1, false, None);
                });
            }
            PendingChange::AlarmSent { id, token, attention } => {
                if self.rows.get(id).is_some_and(|row| row.token == *token) {
                    self.with_row(id, |row| (row.attention, row.alarm_sent) = (*attention, true));
                }
            }
            PendingChange::Defer { id, token, attention } => {
                if self.has(id, *token) {
                    self.with_row(id, |row| row.attention = *attention);
                }
            }
            PendingChange::Park { id, token, reason } => {
                if self.has(id, *token) {
                    self.with_row(id, |row| row.parked = Some(reason.clone()));
                }
            }
        }
        Some(())
    }

    /// Whether there is a row that still has the token, if one is asked for.
    fn has(&self, id: &MessageId, token: Option<u64>) -> bool {
        let row = self.rows.get(id);
        row.is_some_and(|row| token.is_none_or(|token| row.token == token))
    }

    fn with_row(&mut self, id: &MessageId, change: impl FnOnce(&mut PendingRow)) {
        if let Some(row) = self.rows.get_mut(id) {
            change(row);
            self.leases.remove(id);
        }
    }

    /// The rows in the order of the listing.
    pub(super) fn listed(&self) -> Vec<PendingRow> {
        let mut rows: Vec<_> = self.rows.values().cloned().collect();
        rows.sort_by_key(|row| (row.parked.is_some(), row.attention, row.id.clone()));
        rows
    }

    /// Claims like a store does.
    pub(super) fn claim(&mut self, now: Timestamp, until: Timestamp, limit: usize) -> Vec<PendingRow> {
        let mut due = self.listed();
        due.retain(|row| row.parked.is_none() && row.attention <= now);
        due.retain(|row| self.leases.get(&row.id).is_none_or(|lease| *lease <= now));
        due.truncate(limit);
        self.leases.extend(due.iter().map(|row| (row.id.clone(), until)));
        due
    }

    /// The endpoint stops: claims end.
    pub(super) fn restart(&mut self) {
        self.leases.clear();
    }

    /// Purges without a limit, like a store does.
    pub(super) fn purge(&mut self, before: Timestamp, now: Timestamp) -> usize {
        let held = self.inbox.len() + self.records.len();
        self.inbox
            .retain(|_, (state, at)| *state != InboxState::Done || *at >= before);
        self.records.retain(|_, record| !has_expired(record, now));
        held - self.inbox.len() - self.records.len()
    }

    pub(super) fn sizes(&self) -> Sizes {
        let count = |kind| {
            self.rows
                .values()
                .filter(|row| row.parked.is_none() && row.kind == kind)
                .count() as u64
        };
        Sizes {
            inbox: self.inbox.len() as u64,
            records: self.records.len() as u64,
            unsent: count(PendingKind::Message),
            timeouts: count(PendingKind::Timeout),
            parked: self.rows.values().filter(|row| row.parked.is_some()).count() as u64,
        }
    }
}

/// Whether a record counts as absent.
pub(super) fn has_expired(record: &Record, now: Timestamp) -> bool {
    record.expires.is_some_and(|expires| expires <= now)
}

fn holds(expectation: bool) -> Option<()> {
    expectation.then_some(())
}
