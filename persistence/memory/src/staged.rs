//! A unit of work on its way in: checked and worked out beside the tables, then written into them at once.

use std::collections::BTreeMap;

use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{
    InboxChange, PendingChange, PendingRow, RecordChange, RecordKey, StoreError, StoreErrorKind, UnitOfWork,
};

use crate::tables::{InboxEntry, StoredRecord, Tables};

/// What a unit leaves behind: `None` for what goes. Its changes take effect in order, each seeing the ones before.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    inbox: BTreeMap<MessageId, Option<InboxEntry>>,
    records: BTreeMap<RecordKey, Option<StoredRecord>>,
    pending: BTreeMap<MessageId, Option<PendingRow>>,
}

impl Staged {
    /// Works out what `work` leaves behind. Changes nothing.
    pub(crate) fn of(work: UnitOfWork, tables: &Tables) -> Result<Self, StoreError> {
        check_keys(&work)?;
        let mut staged = Self::default();
        let now = work.inbox.iter().map(|change| change.at).max();
        for change in work.inbox {
            staged.change_inbox(change, tables)?;
        }
        for change in work.records {
            staged.change_record(change, now, tables)?;
        }
        for change in work.pending {
            staged.change_pending(change, tables)?;
        }
        Ok(staged)
    }

    /// Writes it. Can't fail.
    pub(crate) fn apply(self, tables: &mut Tables) {
        self.inbox
            .into_iter()
            .for_each(|(id, entry)| tables.set_inbox(id, entry));
        self.records
            .into_iter()
            .for_each(|(key, record)| tables.set_record(key, record));
        self.pending
            .into_iter()
            .for_each(|(id, row)| tables.set_pending(id, row));
    }

    fn change_inbox(&mut self, change: InboxChange, tables: &Tables) -> Result<(), StoreError> {
        let known = self.inbox.get(&change.id).copied();
        let known = known.unwrap_or_else(|| tables.inbox(&change.id));
        if known.map(|(state, _)| state) != change.expected {
            return Err(conflict(&format!(
                "what is known of the message {} is no longer what it was",
                change.id
            )));
        }
        self.inbox
            .insert(change.id, change.next.map(|next| (next, change.at)));
        Ok(())
    }

    fn change_record(
        &mut self,
        change: RecordChange,
        now: Option<Timestamp>,
        tables: &Tables,
    ) -> Result<(), StoreError> {
        let (key, expected, next) = match change {
            RecordChange::Put {
                key,
                expected,
                body,
                expires,
            } => (key, expected, Some((body, expires))),
            RecordChange::Delete { key, expected } => (key, Some(expected), None),
        };
        let staged = self.records.get(&key).map(Option::as_ref);
        let stored = staged.unwrap_or_else(|| tables.record(&key));
        let version = stored.map(|stored| stored.version);
        let is_expired = stored.is_some_and(|stored| now.is_some_and(|now| stored.is_expired(now)));
        if version != expected && !(expected.is_none() && is_expired) {
            let RecordKey { collection, id } = &key;
            return Err(conflict(&format!(
                "the record {id:?} of {collection:?} is no longer what it was"
            )));
        }
        let next = next.map(|(body, expires)| StoredRecord {
            version: version.unwrap_or(0).saturating_add(1),
            body,
            expires,
        });
        self.records.insert(key, next);
        Ok(())
    }

    fn change_pending(&mut self, change: PendingChange, tables: &Tables) -> Result<(), StoreError> {
        match change {
            PendingChange::Add(row) => self.set_row(without_native(*row)),
            PendingChange::Sent(id) | PendingChange::Cancel(id) => {
                self.pending.insert(id, None);
            }
            PendingChange::Fire { id, token } => {
                self.row(&id, tables)
                    .filter(|row| row.token == token)
                    .ok_or_else(|| conflict(&format!("the timeout {id} is gone or was moved")))?;
                self.pending.insert(id, None);
            }
            PendingChange::Move { id, due, attention } => {
                let row = self.row(&id, tables);
                let row = row.ok_or_else(|| conflict(&format!("the timeout {id} is gone")))?;
                self.set_row(PendingRow {
                    due: Some(due),
                    attention,
                    token: row.token.saturating_add(1),
                    alarm_sent: false,
                    parked: None,
                    ..row
                });
            }
            PendingChange::AlarmSent { id, token, attention } => {
                if let Some(row) = self.row(&id, tables).filter(|row| row.token == token) {
                    self.set_row(PendingRow {
                        attention,
                        alarm_sent: true,
                        ..row
                    });
                }
            }
            PendingChange::Defer { id, token, attention } => {
                if let Some(row) = self.row(&id, tables).filter(|row| has(row, token)) {
                    self.set_row(PendingRow { attention, ..row });
                }
            }
            PendingChange::Park { id, token, reason } => {
                if let Some(row) = self.row(&id, tables).filter(|row| has(row, token)) {
                    self.set_row(PendingRow {
                        parked: Some(reason),
                        ..row
                    });
                }
            }
        }
        Ok(())
    }

    fn row(&self, id: &MessageId, tables: &Tables) -> Option<PendingRow> {
        let staged = self.pending.get(id).map(Option::as_ref);
        staged.unwrap_or_else(|| tables.pending(id)).cloned()
    }

    fn set_row(&mut self, row: PendingRow) {
        self.pending.insert(row.id.clone(), Some(row));
    }
}

/// Whether the row still has the token, if one is asked for.
fn has(row: &PendingRow, token: Option<u64>) -> bool {
    token.is_none_or(|token| row.token == token)
}

/// What a transport keeps of a message is never stored.
fn without_native(row: PendingRow) -> PendingRow {
    let Envelope {
        id, headers, body, ..
    } = row.envelope;
    PendingRow {
        envelope: Envelope::new(id, headers, body),
        ..row
    }
}

fn conflict(why: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Conflict,
        format!("commit: {why}; load it again and run again"),
    )
}

/// Refuses units that name a record with a key over the limits.
fn check_keys(work: &UnitOfWork) -> Result<(), StoreError> {
    let records = work.records.iter().map(|change| match change {
        RecordChange::Put { key, .. } | RecordChange::Delete { key, .. } => key,
    });
    let owners = work.pending.iter().filter_map(|change| match change {
        PendingChange::Add(row) => row.owner.as_ref(),
        _ => None,
    });
    records.chain(owners).try_for_each(check_key)
}

/// Refuses a key over the limits.
pub(crate) fn check_key(key: &RecordKey) -> Result<(), StoreError> {
    let (collection, id) = (key.collection.len(), key.id.len());
    if collection <= RecordKey::MAX_COLLECTION_BYTES && id <= RecordKey::MAX_ID_BYTES {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Refused,
        format!(
            "use a record key of {collection} and {id} bytes: a collection has at most {} and an id at most {}; \
             choose a shorter one",
            RecordKey::MAX_COLLECTION_BYTES,
            RecordKey::MAX_ID_BYTES
        ),
    ))
}
