//! What all opened stores of one endpoint share: the way to the engine, and the memory of what is durable there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{PendingRow, Sizes, StoreError, UnitOfWork};
use longhaul_embedded::Database;

use crate::draft::Draft;
use crate::fault;
use crate::in_flight::{Answer, Effects, InFlight, Touched};
use crate::index::{Claimant, Due, Entry, Index};
use crate::keys::Keys;

/// One endpoint in one database. There is at most one of these for it at a time.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) database: Database,
    pub(crate) keys: Keys,
    /// Whose turn it is to hand a unit to the engine. Given in the order in which it was asked for.
    turn: tokio::sync::Mutex<()>,
    memory: Mutex<Memory>,
}

/// What is known without asking the database. It follows what is durable: in order, and as soon as anybody looks.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) index: Index,
    pub(crate) inbox: u64,
    pub(crate) records: u64,
    in_flight: InFlight,
    claimants: u64,
}

impl Memory {
    fn settle(&mut self) {
        while let Some(effects) = self.in_flight.settled() {
            self.apply(effects);
        }
    }

    fn apply(&mut self, effects: Effects) {
        for (id, entry) in effects.rows {
            self.index.set(id, entry);
        }
        self.inbox = self.inbox.saturating_add_signed(effects.inbox);
        self.records = self.records.saturating_add_signed(effects.records);
    }
}

impl Endpoint {
    pub(crate) fn new(database: Database, keys: Keys, memory: Memory) -> Self {
        Self {
            database,
            keys,
            turn: tokio::sync::Mutex::default(),
            memory: Mutex::new(memory),
        }
    }

    /// Commits one unit. Dropped while it waits for its turn it has not begun; afterwards it goes on by itself.
    pub(crate) async fn commit(&self, work: UnitOfWork) -> Result<(), StoreError> {
        let answer = {
            let _turn = self.turn.lock().await;
            let draft = Draft::of(work, self).await?;
            self.hand_over(draft).await
        };
        self.settled(answer).await
    }

    /// Commits what `draft` makes of the state at its turn; nothing where it makes nothing.
    pub(crate) async fn commit_with<T>(
        &self,
        draft: impl AsyncFnOnce(&Self) -> Result<Option<(Draft, T)>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let (answer, made) = {
            let _turn = self.turn.lock().await;
            let Some((draft, made)) = draft(self).await? else {
                return Ok(None);
            };
            (self.hand_over(draft).await, made)
        };
        self.settled(answer).await?;
        Ok(Some(made))
    }

    /// Queues a unit. To be called by whoever has the turn.
    async fn hand_over(&self, draft: Draft) -> Answer {
        // Others may fill the queue between these two lines: then the unit is refused, and nothing is committed.
        self.database.ready().await;
        let mut memory = self.lock();
        let answer = self.database.commit(draft.batch).shared();
        memory
            .in_flight
            .push(answer.clone(), draft.effects, draft.touched);
        answer
    }

    async fn settled(&self, answer: Answer) -> Result<(), StoreError> {
        let result = answer.await;
        drop(self.memory());
        result.map_err(fault::on_commit)
    }

    /// Waits until nothing in flight touches this: then the database and the memory tell its state. To be called by
    /// whoever has the turn, for only then it stays so.
    pub(crate) async fn known(&self, touched: &Touched) {
        loop {
            let Some(answer) = self.memory().in_flight.touching(touched) else {
                return;
            };
            // Whether it was committed or not is found in the memory.
            drop(answer.await);
        }
    }

    pub(crate) fn entry(&self, id: &MessageId) -> Option<Entry> {
        self.memory().index.get(id)
    }

    pub(crate) fn claim(&self, claimant: Claimant, now: Timestamp, lease: Duration, limit: usize) -> Due {
        self.memory().index.claim(claimant, now, lease, limit)
    }

    /// A number for a store that is being opened.
    pub(crate) fn new_claimant(&self) -> Claimant {
        let mut memory = self.lock();
        memory.claimants += 1;
        Claimant(memory.claimants)
    }

    pub(crate) fn release(&self, claimant: Claimant) {
        self.lock().index.release(claimant);
    }

    pub(crate) fn listed(&self, after: Option<&PendingRow>, limit: usize) -> Vec<MessageId> {
        self.memory().index.listed(after, limit)
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let memory = self.memory();
        Sizes {
            inbox: memory.inbox,
            records: memory.records,
            ..memory.index.sizes()
        }
    }

    /// The memory as of what is durable now.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        let mut memory = self.lock();
        memory.settle();
        memory
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
