//! What waits for one key, in order, behind a message that failed.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::endpoint::arrival::Original;
use crate::ids::{MessageId, derived_message_id};
use crate::store::{Record, RecordChange, RecordKey, StoreError, StoreErrorKind};

pub(crate) const COLLECTION: &str = "longhaul/quarantine";
const FORMAT: u32 = 1;

/// The record of what is kept in order by these words.
pub(super) fn key(words: &[&str]) -> RecordKey {
    RecordKey::new(COLLECTION, derived_message_id(words, 0).as_str())
}

/// The stored form.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// What it is about, for people.
    name: String,
    entries: VecDeque<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    message: MessageId,
    /// Where it waits; the one that failed is in the error queue.
    row: Option<MessageId>,
}

/// What waits for one key; empty where nothing does.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    key: RecordKey,
    version: Option<u64>,
    name: String,
    entries: VecDeque<Entry>,
}

impl Sequence {
    pub(crate) fn read(key: &RecordKey, name: &str, record: Option<Record>) -> Result<Self, StoreError> {
        let Some(record) = record else {
            return Ok(Self {
                key: key.clone(),
                version: None,
                name: name.to_owned(),
                entries: VecDeque::new(),
            });
        };
        Self::stored(record)
    }

    /// Reads a record of [`COLLECTION`].
    pub(crate) fn stored(record: Record) -> Result<Self, StoreError> {
        let unreadable = |why: String| {
            let text = format!("read what waits in order as {}: {why}", record.key.id);
            StoreError::new(StoreErrorKind::Unreadable, text)
        };
        let stored: Stored =
            serde_json::from_slice(&record.body).map_err(|error| unreadable(error.to_string()))?;
        if stored.format > FORMAT {
            return Err(unreadable(String::from(
                "a newer version wrote it; start that version again",
            )));
        }
        Ok(Self {
            version: Some(record.version),
            name: stored.name,
            entries: stored.entries,
            key: record.key,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn key(&self) -> &RecordKey {
        &self.key
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn first(&self) -> Option<&MessageId> {
        self.entries.front().map(|entry| &entry.message)
    }

    /// The first of them and where it waits, if it does.
    pub(super) fn first_waiting(&self) -> Option<(&MessageId, &MessageId)> {
        let first = self.entries.front()?;
        Some((&first.message, first.row.as_ref()?))
    }

    /// The first does not come back.
    pub(super) fn pass_over(&mut self) {
        self.entries.pop_front();
    }

    /// The message does not come back from the error queue. Whether it was the first; `None` if it is not there, or waits behind
    /// another one.
    pub(super) fn let_go(&mut self, message: &MessageId) -> Option<bool> {
        let mut entries = self.entries.iter();
        let place = entries.position(|entry| entry.message == *message)?;
        let waits = self.entries.get(place).is_some_and(|entry| entry.row.is_some());
        if place > 0 && waits {
            return None;
        }
        self.entries.remove(place);
        Some(place == 0)
    }

    /// Where the message stands. One that an operator has edited and replayed under a new id stands where the old one did.
    pub(super) fn place(&self, original: &Original<'_>) -> Option<usize> {
        let is = |id: &str| self.entries.iter().position(|entry| entry.message.as_str() == id);
        is(original.id().as_str()).or_else(|| original.edited_from().and_then(is))
    }

    /// Takes a place at the end, or keeps the one it has; whether that changes anything.
    pub(super) fn enter(&mut self, original: &Original<'_>, row: Option<&MessageId>) -> bool {
        let Some(entry) = self.place(original).and_then(|place| self.entries.get_mut(place)) else {
            self.entries.push_back(Entry {
                message: original.id().clone(),
                row: row.cloned(),
            });
            return true;
        };
        // It may stand where the one stood that it was made of.
        let has_changed = entry.row.as_ref() != row || entry.message != *original.id();
        entry.message = original.id().clone();
        entry.row = row.cloned();
        has_changed
    }

    /// Gives the place up; whether it was the first, `None` if it had none.
    pub(super) fn leave(&mut self, original: &Original<'_>) -> Option<bool> {
        let place = self.place(original)?;
        self.entries.remove(place);
        Some(place == 0)
    }

    /// Writes it as it is now.
    pub(super) fn change(&self) -> Option<RecordChange> {
        let key = self.key.clone();
        if self.entries.is_empty() {
            return self
                .version
                .map(|expected| RecordChange::Delete { key, expected });
        }
        let stored = Stored {
            format: FORMAT,
            name: self.name.clone(),
            entries: self.entries.clone(),
        };
        // Ids and texts always have a form in JSON.
        let body = serde_json::to_vec(&stored).ok()?;
        Some(RecordChange::Put {
            key,
            expected: self.version,
            body: Bytes::from(body),
            expires: None,
        })
    }
}
