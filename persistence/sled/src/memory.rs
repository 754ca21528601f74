//! What is known of an endpoint without asking the database.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

use longhaul_core::store::Sizes;
use longhaul_embedded::{Commit, CommitError};
use tokio::sync::oneshot;

use crate::in_flight::{Effects, InFlight, Settled, Touched};
use crate::index::Index;

/// What is known without asking the database. It follows what is durable, unit by unit.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) index: Index,
    pub(crate) inbox: u64,
    pub(crate) records: u64,
    in_flight: InFlight,
    claimants: u64,
}

impl Known {
    /// A number for a store that is being opened.
    pub(crate) const fn new_claimant(&mut self) -> u64 {
        self.claimants += 1;
        self.claimants
    }

    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            inbox: self.inbox,
            records: self.records,
            ..self.index.sizes()
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

/// The memory of an endpoint. It is brought up to date by the engine as it answers units, whoever waits for them; so
/// it holds no handle of the database, which the engine would keep open.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Known>);

impl Memory {
    pub(crate) fn new(known: Known) -> Arc<Self> {
        Arc::new(Self(Mutex::new(known)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a unit, which `commit` hands to the engine. What is returned resolves when it is settled, and the
    /// memory shows it.
    pub(crate) fn follow(
        self: &Arc<Self>,
        commit: impl FnOnce() -> Commit,
        effects: Effects,
        touched: Vec<Touched>,
    ) -> oneshot::Receiver<Result<(), CommitError>> {
        let settled = {
            let mut known = self.lock();
            // Under the lock, so that the order here is that of the engine.
            let commit = commit();
            known.in_flight.push(commit, effects, touched)
        };
        self.settle();
        settled
    }

    /// Resolves when the last unit that touches this is settled; none when nothing in flight does.
    pub(crate) fn touching(&self, touched: &Touched) -> Option<oneshot::Receiver<Result<(), CommitError>>> {
        self.lock().in_flight.touching(touched)
    }

    /// Takes in what the engine has answered, and asks to be called for what it has not.
    fn settle(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut context = Context::from_waker(&waker);
        let mut settled = Vec::new();
        {
            let mut known = self.lock();
            while let Some((effects, unit)) = known.in_flight.next_settled(&mut context) {
                known.apply(effects);
                settled.push(unit);
            }
        }
        settled.into_iter().for_each(Settled::tell);
    }
}

/// The engine calls this from its own thread when it answers the first unit in flight.
impl Wake for Memory {
    fn wake(self: Arc<Self>) {
        self.settle();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.settle();
    }
}
