//! A unit of work as the engine takes it: what must hold, what is written, and what changes in memory afterwards.
//!
//! What the engine can check by itself (states of messages, versions) it checks, against everything that was queued
//! before. The rest depends on the old row or record: there the draft waits until nothing in flight touches it, and
//! reads.

use std::collections::BTreeMap;

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{
    InboxChange, InboxState, PendingChange, PendingRow, RecordChange, RecordKey, StoreError, StoreErrorKind,
    UnitOfWork,
};
use longhaul_embedded::{Batch, Check};

use crate::endpoint::Endpoint;
use crate::fault::{self, conflict};
use crate::in_flight::{Effects, Touched};
use crate::index::Entry;
use crate::rows::Rows;
use crate::stored_inbox;
use crate::stored_record::{self, StoredRecord};
use crate::stored_row;

/// A unit of work as the engine takes it.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) batch: Batch,
    pub(crate) effects: Effects,
    pub(crate) touched: Vec<Touched>,
}

impl Draft {
    /// Drafts `work`; its changes take effect in order, each seeing the ones before. To be called by whoever has the
    /// turn.
    pub(crate) async fn of(work: UnitOfWork, endpoint: &Endpoint) -> Result<Self, StoreError> {
        check_keys(&work)?;
        let mut draft = Self::default();
        let now = work.inbox.iter().map(|change| change.at).max();
        draft.change_inbox(work.inbox, endpoint)?;
        draft.change_records(work.records, now, endpoint).await?;
        draft.change_rows(work.pending, endpoint).await?;
        Ok(draft)
    }

    fn change_inbox(&mut self, changes: Vec<InboxChange>, endpoint: &Endpoint) -> Result<(), StoreError> {
        let mut known: BTreeMap<MessageId, Option<(InboxState, Timestamp)>> = BTreeMap::new();
        for change in changes {
            let key = endpoint.keys.inbox(&change.id);
            let next = change.next.map(|next| (next, change.at));
            match known.get_mut(&change.id) {
                Some(state) if state.map(|(state, _)| state) == change.expected => *state = next,
                Some(_) => return Err(conflict("it expects what it has changed itself to be otherwise")),
                None => {
                    self.batch.check(match change.expected {
                        None => Check::Absent(key),
                        Some(state) => Check::StartsWith(key, stored_inbox::beginning(state).into()),
                    });
                    self.effects.inbox -= i64::from(change.expected.is_some());
                    known.insert(change.id, next);
                }
            }
        }
        for (id, state) in known {
            self.effects.inbox += i64::from(state.is_some());
            let key = endpoint.keys.inbox(&id);
            let Some((state, at)) = state else {
                self.batch.delete(key);
                continue;
            };
            self.batch.put(key, stored_inbox::encode(state, at));
            if state == InboxState::Done {
                self.batch.put(endpoint.keys.done(at, &id), "");
            }
        }
        Ok(())
    }

    async fn change_records(
        &mut self,
        changes: Vec<RecordChange>,
        now: Option<Timestamp>,
        endpoint: &Endpoint,
    ) -> Result<(), StoreError> {
        let mut known: BTreeMap<RecordKey, Option<StoredRecord>> = BTreeMap::new();
        for change in changes {
            let (key, expected, next) = match change {
                RecordChange::Put {
                    key,
                    expected,
                    body,
                    expires,
                } => (key, expected, Some((body, expires))),
                RecordChange::Delete { key, expected } => (key, Some(expected), None),
            };
            let version = match known.get(&key) {
                Some(record) => still_expected(record.as_ref(), expected, now)?,
                None => self.expect_record(&key, expected, now, endpoint).await?,
            };
            let next = next.map(|(body, expires)| StoredRecord {
                version: version.unwrap_or(0).saturating_add(1),
                expires,
                body,
            });
            known.insert(key, next);
        }
        for (key, record) in known {
            let place = endpoint.keys.record(&key);
            self.effects.records += i64::from(record.is_some());
            match record {
                None => self.batch.delete(place),
                Some(record) => {
                    self.batch.put(place, record.encode());
                    if let Some(expires) = record.expires {
                        self.batch.put(endpoint.keys.expiry(expires, &key), "");
                    }
                }
            }
            self.touched.push(Touched::Record(key));
        }
        Ok(())
    }

    /// Makes the unit depend on the record being as expected. Returns the version that it has.
    async fn expect_record(
        &mut self,
        key: &RecordKey,
        expected: Option<u64>,
        now: Option<Timestamp>,
        endpoint: &Endpoint,
    ) -> Result<Option<u64>, StoreError> {
        let place = endpoint.keys.record(key);
        let version = match expected {
            Some(version) => Some(version),
            None => {
                // It may be there and have expired, which only its content tells.
                endpoint.known(&Touched::Record(key.clone())).await;
                let value = endpoint.database.get(&place).map_err(fault::on_read)?;
                let record = value.map(|value| StoredRecord::decode(&value)).transpose();
                let record = record.map_err(|why| fault::unreadable_record(key, why))?;
                still_expected(record.as_ref(), expected, now)?
            }
        };
        self.batch.check(match version {
            None => Check::Absent(place),
            Some(version) => Check::StartsWith(place, stored_record::beginning(version).into()),
        });
        self.effects.records -= i64::from(version.is_some());
        Ok(version)
    }

    async fn change_rows(
        &mut self,
        changes: Vec<PendingChange>,
        endpoint: &Endpoint,
    ) -> Result<(), StoreError> {
        let mut rows = Rows::of(endpoint);
        for change in changes {
            rows.change(change).await?;
        }
        for (id, row) in rows.known {
            let place = endpoint.keys.row(&id);
            self.effects.rows.push((id.clone(), row.as_ref().map(Entry::of)));
            match row {
                None => self.batch.delete(place),
                Some(row) => self.batch.put(place, encoded(&row)?),
            }
            self.touched.push(Touched::Row(id));
        }
        Ok(())
    }
}

/// The version of a record that must be as expected.
fn still_expected(
    record: Option<&StoredRecord>,
    expected: Option<u64>,
    now: Option<Timestamp>,
) -> Result<Option<u64>, StoreError> {
    let version = record.map(|record| record.version);
    let has_expired = || record.is_some_and(|record| now.is_some_and(|now| record.has_expired(now)));
    if version == expected || (expected.is_none() && has_expired()) {
        return Ok(version);
    }
    Err(conflict("a record is no longer what it was"))
}

fn encoded(row: &PendingRow) -> Result<Bytes, StoreError> {
    stored_row::encode(row).map_err(|error| {
        let text = format!(
            "store the pending row {}: it can't be put into bytes; change what is in it",
            row.id
        );
        StoreError::new(StoreErrorKind::Refused, text).with_source(error)
    })
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
    records.chain(owners).try_for_each(fault::check_key)
}
