//! What all handles of one broker share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::Clock;
use longhaul_core::transport::{Health, Settled};
use tokio::sync::watch;

use crate::options::LocalOptions;
use crate::state::State;

pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: LocalOptions,
    pub(crate) health: watch::Sender<Health>,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(clock: Arc<dyn Clock>, options: LocalOptions, state: State) -> Self {
        Self {
            clock,
            options,
            health: watch::Sender::new(Health::Connected),
            state: Mutex::new(state),
        }
    }

    /// Every change leaves the state whole, so that a panic elsewhere under the lock harms nobody.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn finish(&self, queue: &Address, tag: u64) -> Settled {
        let finished = {
            let mut state = self.lock();
            state.queues.get_mut(queue).and_then(|queue| queue.finish(tag))
        };
        if finished.is_some() {
            Settled::Done
        } else {
            Settled::Lost
        }
    }

    pub(crate) fn give_back(&self, queue: &Address, tag: u64, after: Duration) -> Settled {
        let due = (!after.is_zero()).then(|| self.clock.now() + after);
        let mut state = self.lock();
        match state
            .queues
            .get_mut(queue)
            .and_then(|queue| queue.give_back(tag, due))
        {
            Some(_) => Settled::Done,
            None => Settled::Lost,
        }
    }

    pub(crate) fn leave(&self, queue: &Address, receiver: u64) {
        if let Some(queue) = self.lock().queues.get_mut(queue) {
            queue.leave(receiver);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
