//! What all handles of one broker share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::Clock;
use longhaul_core::transport::{Accepted, Health, Settled, TransportError, TransportErrorKind};
use longhaul_embedded::{Commit, CommitError, CommitErrorKind};
use tokio::sync::watch;

use crate::commits::Group;
use crate::journal::{self, Journal, Write};
use crate::options::LocalOptions;
use crate::state::{State, Wanted};

pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: LocalOptions,
    pub(crate) health: watch::Sender<Health>,
    /// `None` in memory.
    pub(crate) journal: Option<Journal>,
    state: Mutex<State>,
}

/// One result per message.
pub(crate) type Results = Vec<Result<Accepted, TransportError>>;

impl Shared {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        options: LocalOptions,
        journal: Option<Journal>,
        state: State,
    ) -> Self {
        Self {
            clock,
            options,
            health: watch::Sender::new(Health::Connected),
            journal,
            state: Mutex::new(state),
        }
    }

    /// Every change leaves the state whole, so that a panic elsewhere under the lock harms nobody.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets messages in, and says when they are as durable as the broker is.
    pub(crate) async fn accept(&self, wanted: Vec<Result<Wanted<'_>, TransportError>>) -> Results {
        let (mut results, groups) = self.enqueue(wanted);
        if groups.is_empty() {
            return results;
        }
        self.settle_commits();
        for Group { entries, answer } in groups {
            // Without an answer the outcome is as unknown as after a failure.
            let answer = answer.await.map_or(Err(None), |answer| answer.map_err(Some));
            let Err(error) = answer else {
                continue;
            };
            for (entry, content) in entries {
                let what = format!("send message {}", content.shown_id());
                results[entry] = Err(journal::error(&what, error.clone()));
            }
        }
        results
    }

    fn enqueue(&self, wanted: Vec<Result<Wanted<'_>, TransportError>>) -> (Results, Vec<Group>) {
        let mut arrivals = Vec::with_capacity(wanted.len());
        let now = self.clock.now();
        let mut state = self.lock();
        if let Some(why) = &state.failed {
            return (wanted.iter().map(|_| Err(closed(why))).collect(), Vec::new());
        }
        let results = wanted.into_iter().enumerate();
        let results = results
            .map(|(entry, wanted)| state.admit(entry, &wanted?, &self.options, &mut arrivals))
            .collect();
        let groups = match &self.journal {
            Some(journal) => state.store(arrivals, journal, self),
            None => {
                state.join(arrivals, now);
                Vec::new()
            }
        };
        (results, groups)
    }

    pub(crate) fn finish(&self, queue: &Address, tag: u64) -> Result<Settled, TransportError> {
        let mut state = self.lock();
        let Some(message) = state.queues.get_mut(queue).and_then(|queue| queue.finish(tag)) else {
            return Ok(Settled::Lost);
        };
        if self.journal.is_some() {
            self.write_soon(&mut state, journal::removal(queue, &message));
        }
        check_working(&state).map(|()| Settled::Done)
    }

    /// Back to its place in the line.
    pub(crate) fn give_back(&self, queue: &Address, tag: u64) -> Settled {
        let mut state = self.lock();
        match state.queues.get_mut(queue).map(|queue| queue.give_back(tag)) {
            Some(true) => Settled::Done,
            Some(false) | None => Settled::Lost,
        }
    }

    /// Back to its queue, and not out of it for a while.
    pub(crate) fn postpone(
        &self,
        queue: &Address,
        tag: u64,
        after: Duration,
    ) -> Result<Settled, TransportError> {
        // `after` is the world's time.
        let due = self.clock.now() + self.clock.of_real(after);
        let mut state = self.lock();
        let Some(note) = state
            .queues
            .get_mut(queue)
            .and_then(|queue| queue.postpone(tag, due))
        else {
            return Ok(Settled::Lost);
        };
        self.write_soon(&mut state, vec![journal::progress(queue, &note)]);
        check_working(&state).map(|()| Settled::Done)
    }

    pub(crate) fn leave(&self, queue: &Address, receiver: u64) {
        if let Some(queue) = self.lock().queues.get_mut(queue) {
            queue.leave(receiver);
        }
    }

    /// Has changes stored without waiting for it. In memory, nothing.
    pub(crate) fn write_soon(&self, state: &mut State, writes: Vec<Write>) {
        let Some(journal) = &self.journal else {
            return;
        };
        if let Err(error) = state.lazy.add(writes, &journal.database) {
            self.note_failure(state, &error);
        }
    }

    /// Begins to store changes that somebody waits for. In memory, nothing.
    pub(crate) fn commit(&self, writes: Vec<Write>) -> Option<Commit> {
        let journal = self.journal.as_ref()?;
        Some(journal.database.commit(journal::batch(writes)))
    }

    /// Waits for such changes.
    pub(crate) async fn committed(&self, what: &str, commit: Option<Commit>) -> Result<(), TransportError> {
        let Some(commit) = commit else {
            return Ok(());
        };
        commit.await.map_err(|error| {
            self.note_failure(&mut self.lock(), &error);
            journal::error(what, Some(error))
        })
    }

    /// Stops for good if that is what the engine's error means.
    pub(crate) fn note_failure(&self, state: &mut State, error: &CommitError) {
        let for_good = !matches!(
            error.kind(),
            CommitErrorKind::TooLarge | CommitErrorKind::Busy | CommitErrorKind::Conflict
        );
        if for_good && state.failed.is_none() {
            let why = error.to_string();
            tracing::error!(%error, "the embedded broker stops: its database does");
            self.health.send_replace(Health::Disconnected(why.clone()));
            state.failed = Some(why);
            state.queues.values().for_each(crate::queue::Queue::rouse);
        }
    }
}

/// An error once the broker has stopped.
pub(crate) fn check_working(state: &State) -> Result<(), TransportError> {
    state.failed.as_deref().map_or(Ok(()), |why| Err(closed(why)))
}

fn closed(why: &str) -> TransportError {
    TransportError::new(
        TransportErrorKind::Closed,
        format!("use the embedded broker: its database has stopped ({why}); mend that and start again"),
    )
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}
