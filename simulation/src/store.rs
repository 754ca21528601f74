//! The simulated store: what is written is seen at once by conflicts, lasts a moment later, and is gone if the process
//! ends in between.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use longhaul_core::address::{Address, EndpointName};
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::ids::MessageId;
use longhaul_core::probe::{Mutant, is_mutated};
use longhaul_core::store::{
    Claimed, Durability, LoadRequest, Loaded, PendingChange, PendingRow, Persistence, Record, RecordChange,
    Sizes, Store, StoreAdmin, StoreError, StoreErrorKind, UnitOfWork,
};
use longhaul_memory::Memory;

use crate::hub::{Incarnation, World};
use crate::plan::{Fault, Site};
use crate::trace::{Known, What};

/// How long a store takes to read.
const READ: Duration = Duration::from_micros(100);
/// How long a store takes until what it wrote lasts.
const SYNC: Duration = Duration::from_millis(2);
/// How much longer what a faulty store wrote is in danger.
const UNSYNCED: Duration = Duration::from_secs(2);

/// What one endpoint has stored, beyond the life of its processes.
#[derive(Debug)]
pub(crate) struct Shelf {
    memory: Memory,
    /// For the world to look at.
    view: Option<Arc<dyn Store>>,
    /// All units ever committed that were not lost.
    journal: Vec<Written>,
    /// What was removed, each after so many units: before which time, when, and how much at most.
    purges: Vec<(usize, Timestamp, Timestamp, usize)>,
    /// When the rows are due that are still to be sent or to fire, in the world's time.
    dues: Dues,
    /// Whether several processes use it, so that it is nobody's to lose.
    is_shared: bool,
}

/// A unit that was committed.
#[derive(Debug)]
struct Written {
    unit: Arc<UnitOfWork>,
    /// From when on it lasts.
    durable: Timestamp,
    /// By how many microseconds the clock of the process was ahead of the world.
    ahead: i64,
}

/// When rows are due, in the world's time, each with its token.
type Dues = BTreeMap<MessageId, (Timestamp, u64)>;

impl Written {
    /// Takes in what the unit plans, and what no longer is.
    fn plan(&self, dues: &mut Dues) {
        for change in &self.unit.pending {
            let (id, due) = match change {
                PendingChange::Add(row) => {
                    let due = row.due.filter(|_| row.parked.is_none());
                    (&row.id, due.map(|due| (due, row.token)))
                }
                PendingChange::Move { id, due, .. } => {
                    let token = dues.get(id).map_or(0, |(_, token)| token + 1);
                    (id, Some((*due, token)))
                }
                PendingChange::Park { id, token, .. }
                    if token.is_some_and(|token| dues.get(id).is_none_or(|(_, is)| *is != token)) =>
                {
                    continue;
                }
                PendingChange::Sent(id)
                | PendingChange::Cancel(id)
                | PendingChange::Fire { id, .. }
                | PendingChange::Park { id, .. } => (id, None),
                PendingChange::AlarmSent { .. } | PendingChange::Defer { .. } => continue,
            };
            match due {
                // The clock of the process may be wrong.
                Some((due, token)) => {
                    let due = Timestamp::from_micros(due.as_micros().saturating_sub(self.ahead));
                    dues.insert(id.clone(), (due, token));
                }
                None => drop(dues.remove(id)),
            }
        }
    }
}

impl Shelf {
    pub(crate) fn new(is_shared: bool) -> Self {
        Self {
            memory: Memory::pretending_durable(),
            view: None,
            journal: Vec::new(),
            purges: Vec::new(),
            dues: BTreeMap::new(),
            is_shared,
        }
    }

    fn last(&self) -> Timestamp {
        self.journal
            .last()
            .map_or(Timestamp::MIN, |written| written.durable)
    }

    /// When the last of the rows is due, in the world's time.
    pub(crate) fn farthest(&self) -> Option<Timestamp> {
        self.dues.values().map(|(due, _)| *due).max()
    }

    fn write(&mut self, written: Written) {
        written.plan(&mut self.dues);
        self.journal.push(written);
    }

    /// The process ends: what does not last yet is gone, but for as much as `luck` lets the disk have. Returns from
    /// which unit on everything is lost, if anything was in danger.
    pub(crate) fn crash(&mut self, endpoint: &Address, now: Timestamp, luck: usize) -> Option<usize> {
        self.view = None;
        let lasting = self
            .journal
            .iter()
            .take_while(|written| written.durable <= now)
            .count();
        let at_risk = self.journal.len() - lasting;
        if at_risk == 0 || self.is_shared {
            return None;
        }
        let kept = lasting + luck % (at_risk + 1);
        self.journal
            .iter_mut()
            .for_each(|written| written.durable = written.durable.min(now));
        if kept == self.journal.len() {
            return Some(kept);
        }
        self.journal.truncate(kept);
        self.purges.retain(|(after, ..)| *after <= kept);
        self.memory = Memory::pretending_durable();
        if let Some(Ok(store)) = self.memory.open(endpoint).now_or_never() {
            let purge_after = |number: usize| {
                for (_, before, now, limit) in self.purges.iter().filter(|(after, ..)| *after == number) {
                    drop(store.admin().purge(*before, *now, *limit).now_or_never());
                }
            };
            for (number, written) in self.journal.iter().enumerate() {
                purge_after(number);
                // A unit that was committed once commits again, on what was there before it.
                drop(store.commit((*written.unit).clone()).now_or_never());
            }
            purge_after(self.journal.len());
        }
        self.dues.clear();
        for written in &self.journal {
            written.plan(&mut self.dues);
        }
        Some(kept)
    }

    /// The store as it is, for the world to look at.
    fn view(&mut self, endpoint: &Address) -> Option<&Arc<dyn Store>> {
        if self.view.is_none() {
            self.view = self.memory.open(endpoint).now_or_never().and_then(Result::ok);
        }
        self.view.as_ref()
    }

    /// The rows that are still to be sent or to fire, without those set aside for people.
    pub(crate) fn pending(&mut self, endpoint: &Address) -> Vec<PendingRow> {
        let Some(view) = self.view(endpoint) else {
            return Vec::new();
        };
        let rows = view.admin().pending(None, usize::MAX).now_or_never();
        let rows = rows.and_then(Result::ok).unwrap_or_default();
        rows.into_iter().filter(|row| row.parked.is_none()).collect()
    }

    /// What is known at the end.
    pub(crate) fn known(&mut self, endpoint: &Address) -> Known {
        let Some(view) = self.view(endpoint) else {
            return Known::default();
        };
        let rows = view.admin().pending(None, usize::MAX).now_or_never();
        let rows = rows.and_then(Result::ok).unwrap_or_default();
        let parked = rows.into_iter().filter(|row| row.parked.is_some());
        Known {
            parked: parked.map(|row| row.outgoing().id).collect(),
        }
    }

    /// How much is stored.
    pub(crate) fn sizes(&mut self, endpoint: &Address) -> Sizes {
        let sizes = self
            .view(endpoint)
            .and_then(|view| view.admin().sizes().now_or_never());
        sizes.and_then(Result::ok).unwrap_or_default()
    }

    /// All records of one collection.
    pub(crate) fn records(&mut self, endpoint: &Address, collection: &str) -> Vec<Record> {
        let records = self.view(endpoint).and_then(|view| {
            let records = view.admin().records(collection, None, usize::MAX);
            records.now_or_never()
        });
        records.and_then(Result::ok).unwrap_or_default()
    }
}

#[derive(Debug)]
pub(crate) struct SimPersistence(pub(crate) Incarnation);

#[async_trait]
impl Persistence for SimPersistence {
    async fn open(&self, endpoint: &EndpointName) -> Result<Arc<dyn Store>, StoreError> {
        self.0.pass(READ).await;
        let memory = |world: &mut World| {
            let shelf = world.shelves.get(endpoint);
            shelf.map(|shelf| (shelf.memory.clone(), shelf.is_shared))
        };
        let Some((memory, is_shared)) = self.0.act(memory).await else {
            return Err(StoreError::new(
                StoreErrorKind::Configuration,
                "open the store: there is none",
            ));
        };
        Ok(Arc::new(SimStore {
            incarnation: self.0.clone(),
            endpoint: endpoint.clone(),
            inner: memory.open(endpoint).await?,
            is_shared,
        }))
    }
}

#[derive(Debug)]
struct SimStore {
    incarnation: Incarnation,
    endpoint: EndpointName,
    inner: Arc<dyn Store>,
    is_shared: bool,
}

fn unavailable() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "use the store: it can't be reached for now",
    )
}

fn unknown() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unknown,
        "commit: the connection was lost before the answer came",
    )
}

impl SimStore {
    /// Suffers what goes wrong with a question, and waits until what was written before lasts.
    async fn ask(&self, site: Site) -> Result<(), StoreError> {
        self.incarnation.pass(READ).await;
        match self.incarnation.act(|world| world.chooser.ask(site)).await {
            Some(Fault::Refused | Fault::Unknown { .. }) => return Err(unavailable()),
            Some(Fault::Silence { .. }) => pending().await,
            Some(Fault::Late(later)) => self.incarnation.pass(later).await,
            _ => {}
        }
        if is_mutated(Mutant::CommitNotSynced) {
            return Ok(());
        }
        loop {
            let last = |world: &mut World| world.shelves.get(&self.endpoint).map(Shelf::last);
            let last = self.incarnation.act(last).await.unwrap_or(Timestamp::MIN);
            if last <= self.incarnation.hub.clock.now() {
                return Ok(());
            }
            self.incarnation.hub.clock.sleep_until(last).await;
        }
    }

    /// Commits in memory, and says until when that is in danger.
    fn write(&self, world: &mut World, work: UnitOfWork, later: Duration) -> Result<Timestamp, StoreError> {
        let now = self.incarnation.hub.clock.now();
        let unit = Arc::new(work.clone());
        let work = if is_mutated(Mutant::VersionIgnored) {
            self.with_any_version(work)
        } else {
            work
        };
        let committed = self.inner.commit(work).now_or_never();
        committed.unwrap_or_else(|| Err(unavailable()))?;
        let Some(shelf) = world.shelves.get_mut(&self.endpoint) else {
            return Err(unavailable());
        };
        let danger = if is_mutated(Mutant::CommitNotSynced) {
            UNSYNCED
        } else {
            SYNC
        };
        let durable = (now + danger + later).max(shelf.last());
        let index = shelf.journal.len();
        let local = self.incarnation.clock.now();
        shelf.write(Written {
            unit: Arc::clone(&unit),
            durable,
            ahead: local.as_micros().saturating_sub(now.as_micros()),
        });
        let mut changes = unit.pending.iter();
        if changes.any(|change| matches!(change, PendingChange::Fire { .. } | PendingChange::Park { .. })) {
            // It is no longer planned, and what follows from it takes its time.
            world.plan(now);
        }
        let committed = What::Committed {
            unit,
            local,
            durable,
            index,
        };
        self.incarnation.note(world, committed);
        Ok(durable)
    }

    /// The unit as a store sees it that compares no versions.
    fn with_any_version(&self, mut work: UnitOfWork) -> UnitOfWork {
        for change in &mut work.records {
            let (RecordChange::Put { key, .. } | RecordChange::Delete { key, .. }) = change;
            let records = self.inner.admin().records(&key.collection, None, usize::MAX);
            let records = records.now_or_never().and_then(Result::ok).unwrap_or_default();
            let stored = records.into_iter().find(|record| record.key == *key);
            match change {
                RecordChange::Put { expected, .. } => *expected = stored.map(|record| record.version),
                RecordChange::Delete { expected, .. } => {
                    *expected = stored.map_or(*expected, |record| record.version);
                }
            }
        }
        work
    }
}

#[async_trait]
impl Store for SimStore {
    async fn load(&self, request: &LoadRequest) -> Result<Loaded, StoreError> {
        self.ask(Site::Load).await?;
        let load = |_: &mut World| self.inner.load(request).now_or_never();
        self.incarnation
            .act(load)
            .await
            .unwrap_or_else(|| Err(unavailable()))
    }

    async fn commit(&self, work: UnitOfWork) -> Result<(), StoreError> {
        // In the order in which they are begun.
        let (fault, written) = self
            .incarnation
            .act(|world| {
                let fault = world.chooser.ask(Site::Commit);
                let is_done = match fault {
                    Some(Fault::Refused) => false,
                    Some(Fault::Unknown { done } | Fault::Silence { done }) => done,
                    _ => true,
                };
                let later = match fault {
                    Some(Fault::Late(later)) => later,
                    _ => Duration::ZERO,
                };
                (fault, is_done.then(|| self.write(world, work, later)))
            })
            .await;
        let durable = match written {
            Some(Ok(durable)) => Some(durable),
            // A conflict is known at once.
            Some(Err(error)) => {
                self.incarnation.pass(READ).await;
                return Err(error);
            }
            None => None,
        };
        match (fault, durable) {
            (Some(Fault::Refused), _) => Err(unavailable()),
            (Some(Fault::Unknown { .. }), _) => {
                self.incarnation.pass(SYNC).await;
                Err(unknown())
            }
            (Some(Fault::Silence { .. }), _) => pending().await,
            (_, Some(durable)) if !is_mutated(Mutant::CommitNotSynced) => {
                self.incarnation.hub.clock.sleep_until(durable).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn claim_due(&self, now: Timestamp, lease: Duration, limit: usize) -> Result<Claimed, StoreError> {
        self.ask(Site::Claim).await?;
        let claim = |_: &mut World| self.inner.claim_due(now, lease, limit).now_or_never();
        self.incarnation
            .act(claim)
            .await
            .unwrap_or_else(|| Err(unavailable()))
    }

    fn durability(&self) -> Durability {
        Durability::Synced
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn admin(&self) -> &dyn StoreAdmin {
        self
    }
}

#[async_trait]
impl StoreAdmin for SimStore {
    async fn records(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.inner.admin().records(collection, after, limit).await
    }

    async fn pending(&self, after: Option<&PendingRow>, limit: usize) -> Result<Vec<PendingRow>, StoreError> {
        self.inner.admin().pending(after, limit).await
    }

    async fn purge(&self, before: Timestamp, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let purge = |world: &mut World| {
            let purged = self.inner.admin().purge(before, now, limit).now_or_never();
            if let Some(shelf) = world.shelves.get_mut(&self.endpoint)
                && matches!(purged, Some(Ok(1..)))
            {
                shelf.purges.push((shelf.journal.len(), before, now, limit));
            }
            purged
        };
        self.incarnation
            .act(purge)
            .await
            .unwrap_or_else(|| Err(unavailable()))
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        self.inner.admin().sizes().await
    }
}
