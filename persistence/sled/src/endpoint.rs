//! What all opened stores of one endpoint share: the way to the engine, and the memory of what is durable there.

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{PendingRow, Sizes, StoreError, StoreErrorKind, UnitOfWork};
use longhaul_embedded::Database;
use tokio::sync::oneshot;

use crate::draft::Draft;
use crate::fault;
use crate::in_flight::{Answer, Touched};
use crate::index::{Claimant, Due, Entry};
use crate::keys::Keys;
use crate::memory::{Known, Memory};

/// One endpoint in one database. There is at most one of these for it at a time.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) database: Database,
    pub(crate) keys: Keys,
    /// Whose turn it is to hand a unit to the engine. Given in the order in which it was asked for.
    turn: tokio::sync::Mutex<()>,
    memory: Arc<Memory>,
}

impl Endpoint {
    pub(crate) fn new(database: Database, keys: Keys, known: Known) -> Self {
        Self {
            database,
            keys,
            turn: tokio::sync::Mutex::default(),
            memory: Memory::new(known),
        }
    }

    /// Commits one unit. Dropped while it waits for its turn it has not begun; afterwards it goes on by itself.
    pub(crate) async fn commit(&self, work: UnitOfWork) -> Result<(), StoreError> {
        let settled = {
            let _turn = self.turn.lock().await;
            let draft = Draft::of(work, self).await?;
            self.hand_over(draft).await
        };
        told(settled).await
    }

    /// Commits what `draft` makes of the state at its turn.
    pub(crate) async fn commit_with<T>(
        &self,
        draft: impl FnOnce() -> Result<(Draft, T), StoreError>,
    ) -> Result<T, StoreError> {
        let (settled, made) = {
            let _turn = self.turn.lock().await;
            let (draft, made) = draft()?;
            (self.hand_over(draft).await, made)
        };
        told(settled).await?;
        Ok(made)
    }

    /// Queues a unit. To be called by whoever has the turn.
    async fn hand_over(&self, draft: Draft) -> oneshot::Receiver<Answer> {
        let Draft {
            batch,
            effects,
            touched,
        } = draft;
        // Others may fill the queue between these two lines: then the unit is refused, and nothing is committed.
        self.database.ready().await;
        self.memory
            .follow(|| self.database.commit(batch), effects, touched)
    }

    /// Waits until nothing in flight touches this: then the database and the memory tell its state. To be called by
    /// whoever has the turn, for only then it stays so.
    pub(crate) async fn known(&self, touched: &Touched) {
        while let Some(settled) = self.memory.touching(touched) {
            // Whether it was committed or not is found in the memory.
            drop(settled.await);
        }
    }

    pub(crate) fn entry(&self, id: &MessageId) -> Option<Entry> {
        self.memory.lock().index.get(id)
    }

    pub(crate) fn claim(&self, claimant: Claimant, now: Timestamp, lease: Duration, limit: usize) -> Due {
        self.memory.lock().index.claim(claimant, now, lease, limit)
    }

    pub(crate) fn new_claimant(&self) -> Claimant {
        Claimant(self.memory.lock().new_claimant())
    }

    pub(crate) fn release(&self, claimant: Claimant) {
        self.memory.lock().index.release(claimant);
    }

    pub(crate) fn listed(&self, after: Option<&PendingRow>, limit: usize) -> Vec<MessageId> {
        self.memory.lock().index.listed(after, limit)
    }

    pub(crate) fn sizes(&self) -> Sizes {
        self.memory.lock().sizes()
    }
}

async fn told(settled: oneshot::Receiver<Answer>) -> Result<(), StoreError> {
    let answer = settled.await.map_err(|_| {
        let text = "commit: the engine went away without an answer; look whether it was committed";
        StoreError::new(StoreErrorKind::Unknown, text)
    })?;
    answer.map_err(fault::on_commit)
}
