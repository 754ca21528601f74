//! Batches that become durable together: what each finds, what all of them change.

use std::collections::{BTreeMap, btree_map::Entry};

use bytes::Bytes;

use crate::{
    batch::{Batch, Check},
    record::{self, LoadError, PIECE_BYTES, PieceId, Record},
    tally::Head,
    view::{self, Overlay},
};

/// The state of the tree as changed by the batches taken up so far. Nothing is written.
pub(crate) struct Group<'a> {
    tree: &'a sled::Tree,
    head: Head,
    long_values: u32,
    touched: BTreeMap<Bytes, Change>,
}

struct Change {
    before: Option<Bytes>,
    after: Option<Bytes>,
}

/// What a group changes.
pub(crate) struct Changes {
    /// The touched entries as they are before.
    pub(crate) before: Overlay,
    pub(crate) batch: sled::Batch,
    /// The head of the database once they are made.
    pub(crate) head: Head,
}

/// What a batch met.
pub(crate) enum Verdict {
    Holds,
    /// The check on this key does not hold: nothing of the batch was taken up.
    Conflict(Bytes),
}

impl<'a> Group<'a> {
    /// An empty group on a database with this head.
    pub(crate) fn new(tree: &'a sled::Tree, head: Head) -> Self {
        let head = Head {
            sequence: head.sequence + 1,
            ..head
        };
        Self {
            tree,
            head,
            long_values: 0,
            touched: BTreeMap::new(),
        }
    }

    /// Takes up `batch` when all its checks hold against the state left by the earlier ones.
    pub(crate) fn add(&mut self, batch: &Batch) -> Result<Verdict, LoadError> {
        for check in &batch.checks {
            if !self.holds(check)? {
                return Ok(Verdict::Conflict(check.key().clone()));
            }
        }
        for (key, value) in &batch.writes {
            self.write(record::data_key(key), value.as_ref())?;
        }
        Ok(Verdict::Holds)
    }

    /// The changes to make; none when nothing changes.
    pub(crate) fn finish(mut self) -> Option<Changes> {
        self.touched.retain(|_, change| change.before != change.after);
        if self.touched.is_empty() {
            return None;
        }
        let (mut before, mut batch) = (Overlay::new(), sled::Batch::default());
        for (key, change) in self.touched {
            if let Some(raw) = &change.before {
                self.head.tally.remove(&key, raw);
            }
            match change.after {
                Some(raw) => {
                    self.head.tally.add(&key, &raw);
                    batch.insert(key.as_ref(), raw.as_ref());
                }
                None => batch.remove(key.as_ref()),
            }
            before.insert(key, change.before);
        }
        batch.insert(record::HEAD_KEY, self.head.encode());
        Some(Changes {
            before,
            batch,
            head: self.head,
        })
    }

    fn holds(&mut self, check: &Check) -> Result<bool, LoadError> {
        let raw = self.look_up(record::data_key(check.key()))?;
        let needs_value = matches!(check, Check::Equals(..) | Check::StartsWith(..));
        let found = match raw {
            Some(raw) if needs_value => Some(decoded(&raw)?.load(|key| self.fetch(key))?),
            found => found,
        };
        Ok(check.holds(found.as_deref()))
    }

    fn write(&mut self, key: Bytes, value: Option<&Bytes>) -> Result<(), LoadError> {
        if let Some(old) = self.look_up(key.clone())? {
            for piece in decoded(&old)?.piece_keys() {
                self.set(piece, None)?;
            }
        }
        let record = match value {
            Some(value) if value.len() > PIECE_BYTES => Some(self.cut(value)?),
            Some(value) => Some(Record::Inline(value.clone())),
            None => None,
        };
        self.set(key, record.map(|record| record.encode()))
    }

    fn cut(&mut self, value: &Bytes) -> Result<Record, LoadError> {
        let id = PieceId {
            sequence: self.head.sequence,
            ordinal: self.long_values,
        };
        self.long_values += 1;
        let record = Record::InPieces {
            id,
            bytes: value.len() as u64,
        };
        for (key, piece) in record.piece_keys().zip(value.chunks(PIECE_BYTES)) {
            self.set(key, Some(value.slice_ref(piece)))?;
        }
        Ok(record)
    }

    fn set(&mut self, key: Bytes, after: Option<Bytes>) -> Result<(), LoadError> {
        match self.touched.entry(key) {
            Entry::Occupied(mut touched) => touched.get_mut().after = after,
            Entry::Vacant(untouched) => {
                let before = view::fetch(self.tree, untouched.key())?;
                untouched.insert(Change { before, after });
            }
        }
        Ok(())
    }

    /// The entry as it is now. It is remembered, since what is checked is written as a rule; what stays as it is costs
    /// nothing in the end.
    fn look_up(&mut self, key: Bytes) -> Result<Option<Bytes>, sled::Error> {
        match self.touched.entry(key) {
            Entry::Occupied(touched) => Ok(touched.get().after.clone()),
            Entry::Vacant(untouched) => {
                let before = view::fetch(self.tree, untouched.key())?;
                let after = before.clone();
                untouched.insert(Change {
                    before,
                    after: after.clone(),
                });
                Ok(after)
            }
        }
    }

    fn fetch(&self, key: &[u8]) -> Result<Option<Bytes>, sled::Error> {
        match self.touched.get(key) {
            Some(change) => Ok(change.after.clone()),
            None => view::fetch(self.tree, key),
        }
    }
}

fn decoded(raw: &Bytes) -> Result<Record, LoadError> {
    Record::decode(raw).ok_or(LoadError::Malformed)
}
