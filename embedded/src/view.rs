//! What readers see: only what is durable.
//!
//! While the writer makes a group durable, the tree already shows it. For that time the view keeps the entries as
//! they were before (the overlay), and a read that touches one of them takes it from there. A read holds the lock
//! shared from beginning to end, so that all of it sees one and the same state between two groups; the writer holds
//! it exclusively only to put the overlay in place and to take it away, never while it writes or syncs.

use std::{
    collections::{BTreeMap, btree_map},
    iter::Peekable,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{PoisonError, RwLock},
};

use bytes::Bytes;

use crate::{
    read_error::ReadError,
    record::{self, LoadError, Record},
    scan::Scan,
};

/// The durable state of touched entries by key in the tree; none where there was nothing.
pub(crate) type Overlay = BTreeMap<Bytes, Option<Bytes>>;

pub(crate) struct View {
    state: RwLock<State>,
}

struct State {
    /// None once closed.
    tree: Option<sled::Tree>,
    overlay: Overlay,
}

impl View {
    pub(crate) fn new(tree: sled::Tree) -> Self {
        Self {
            state: RwLock::new(State {
                tree: Some(tree),
                overlay: Overlay::new(),
            }),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.read(|durable| {
            let Some(raw) = durable.fetch(&record::data_key(key))? else {
                return Ok(None);
            };
            durable.load(&raw).map(Some)
        })
    }

    pub(crate) fn get_all(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.read(|durable| {
            let value = |key: &Bytes| match durable.fetch(&record::data_key(key))? {
                Some(raw) => durable.load(&raw).map(Some),
                None => Ok(None),
            };
            keys.iter().map(value).collect()
        })
    }

    pub(crate) fn scan(&self, scan: &Scan) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.read(|durable| {
            durable
                .entries(scan)
                .map(|entry| {
                    let (key, raw) = entry?;
                    Ok((key.slice(1..), durable.load(&raw)?))
                })
                .collect()
        })
    }

    pub(crate) fn count(&self, scan: &Scan) -> Result<usize, ReadError> {
        self.read(|durable| {
            durable.entries(scan).try_fold(0, |count, entry| {
                entry.map(|_| count + 1).map_err(LoadError::from)
            })
        })
    }

    /// From now on readers see these entries instead of what the tree shows.
    pub(crate) fn cover(&self, overlay: Overlay) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).overlay = overlay;
    }

    /// Readers see the tree as it is again.
    pub(crate) fn uncover(&self) {
        // The old entries are freed after the lock is, to hold it as shortly as can be.
        let covered = std::mem::take(&mut self.state.write().unwrap_or_else(PoisonError::into_inner).overlay);
        drop(covered);
    }

    /// Waits for the reads under way and lets go of the tree.
    pub(crate) fn close(&self) {
        let closed = self
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .tree
            .take();
        drop(closed);
    }

    fn read<T>(&self, read: impl FnOnce(Durable<'_>) -> Result<T, LoadError>) -> Result<T, ReadError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let Some(tree) = &state.tree else {
            return Err(ReadError::closed());
        };
        let durable = Durable {
            tree,
            overlay: &state.overlay,
        };
        // A page that was damaged since the database was opened makes the engine panic where it is read.
        match catch_unwind(AssertUnwindSafe(|| read(durable))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(LoadError::Engine(error))) => Err(ReadError::from_sled(error)),
            Ok(Err(LoadError::Malformed)) => Err(ReadError::damaged("an entry is not whole")),
            Err(_panic) => Err(ReadError::damaged("the engine gave up on a page")),
        }
    }
}

#[derive(Clone, Copy)]
struct Durable<'a> {
    tree: &'a sled::Tree,
    overlay: &'a Overlay,
}

impl<'a> Durable<'a> {
    fn fetch(self, key: &[u8]) -> Result<Option<Bytes>, sled::Error> {
        match self.overlay.get(key) {
            Some(covered) => Ok(covered.clone()),
            None => fetch(self.tree, key),
        }
    }

    fn load(self, raw: &Bytes) -> Result<Bytes, LoadError> {
        Record::decode(raw)
            .ok_or(LoadError::Malformed)?
            .load(|key| self.fetch(key))
    }

    /// Keys (with their lead byte) and records in the range of `scan`, up to its limit.
    fn entries(self, scan: &Scan) -> impl Iterator<Item = Result<(Bytes, Bytes), sled::Error>> + use<'a> {
        let (low, high) = scan.under(record::DATA);
        let limit = if is_empty(&low, &high) { 0 } else { scan.entries() };
        let covered = if limit == 0 {
            btree_map::Range::default()
        } else {
            self.overlay
                .range::<[u8], _>((low.as_ref().map(Vec::as_slice), high.as_ref().map(Vec::as_slice)))
        };
        let merge = Merge {
            tree: self.tree.range::<Vec<u8>, _>((low, high)).peekable(),
            covered: covered.peekable(),
        };
        merge.take(limit)
    }
}

/// The tree with the covered entries in place of its own.
struct Merge<'a> {
    tree: Peekable<sled::Iter>,
    covered: Peekable<btree_map::Range<'a, Bytes, Option<Bytes>>>,
}

impl Iterator for Merge<'_> {
    type Item = Result<(Bytes, Bytes), sled::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let covered_first = match (self.tree.peek(), self.covered.peek()) {
                (Some(Ok((key, _))), Some((covered, _))) => key.as_ref() >= covered.as_ref(),
                (None, Some(_)) => true,
                (Some(Err(_)), _) | (_, None) => false,
            };
            if !covered_first {
                let entry = self.tree.next()?;
                return Some(entry.map(|(key, raw)| (copied(&key), copied(&raw))));
            }
            let (key, durable) = self.covered.next()?;
            // The tree's newer entry under the same key gives way.
            self.tree
                .next_if(|entry| matches!(entry, Ok((newer, _)) if newer.as_ref() == key.as_ref()));
            if let Some(raw) = durable {
                return Some(Ok((key.clone(), raw.clone())));
            }
        }
    }
}

/// What the tree holds under `key`, durable or not.
pub(crate) fn fetch(tree: &sled::Tree, key: &[u8]) -> Result<Option<Bytes>, sled::Error> {
    Ok(tree.get(key)?.map(|raw| copied(&raw)))
}

fn copied(raw: &sled::IVec) -> Bytes {
    Bytes::copy_from_slice(raw)
}

fn is_empty(low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) -> bool {
    match (low, high) {
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => {
            low >= high
        }
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
