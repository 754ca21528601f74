//! Accepted messages on their way to the disk: they join their queues once they are there, in order.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake};

use futures_util::FutureExt;
use longhaul_embedded::{Batch, Commit, CommitError};
use tokio::sync::oneshot;
use tokio::task::coop::{Unconstrained, unconstrained};

use crate::content::Content;
use crate::journal::{self, Journal};
use crate::shared::Shared;
use crate::state::{Arrival, State};

/// Commits larger than this are begun anew: the engine groups them by itself.
const BATCH_BYTES: usize = 256 * 1024;
/// A message of more than this is committed alone, so that one too large for the engine fails nobody else.
const ALONE_BYTES: usize = 64 * 1024;

/// One commit, and who waits for it.
pub(crate) struct Outstanding {
    /// Outside of tokio's budget: it is polled for the broker, not for the task that happens to be running.
    commit: Unconstrained<Commit>,
    arrivals: Vec<Arrival>,
    answer: oneshot::Sender<Result<(), CommitError>>,
}

impl fmt::Debug for Outstanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outstanding")
            .field("arrivals", &self.arrivals)
            .finish_non_exhaustive()
    }
}

/// The part of a dispatch that one commit carries.
#[derive(Debug)]
pub(crate) struct Group {
    /// Whose results depend on it.
    pub(crate) entries: Vec<(usize, Arc<Content>)>,
    pub(crate) answer: oneshot::Receiver<Result<(), CommitError>>,
}

/// Wakes the broker, not a task: whoever waits for a message need not know that it is still being written.
#[derive(Debug)]
pub(crate) struct OnCommit(pub(crate) Weak<Shared>);

impl Wake for OnCommit {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.settle_commits();
        }
    }
}

impl State {
    /// Begins to store messages that room was made for. Must be followed by [`Shared::settle_commits`].
    pub(crate) fn store(&mut self, arrivals: Vec<Arrival>, journal: &Journal, shared: &Shared) -> Vec<Group> {
        let now = shared.clock.now();
        let mut groups = Vec::new();
        let (mut batch, mut aboard): (Batch, Vec<Arrival>) = Default::default();
        let mut is_last_alone = false;
        for arrival in arrivals {
            let (writes, bytes) = journal::acceptance(&arrival.queue, &arrival.message, now);
            let alone = bytes > ALONE_BYTES;
            if !aboard.is_empty() && (alone || is_last_alone || batch.bytes() + bytes > BATCH_BYTES) {
                let full = (std::mem::take(&mut batch), std::mem::take(&mut aboard));
                groups.push(self.begin(journal, full));
            }
            is_last_alone = alone;
            for (key, value) in writes.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                batch.put(key, value);
            }
            aboard.push(arrival);
        }
        if !aboard.is_empty() {
            groups.push(self.begin(journal, (batch, aboard)));
        }
        groups
    }

    fn begin(&mut self, journal: &Journal, (batch, arrivals): (Batch, Vec<Arrival>)) -> Group {
        let (answer, answered) = oneshot::channel();
        let entries = arrivals.iter();
        let entries = entries.map(|arrival| (arrival.entry, Arc::clone(&arrival.message.content)));
        let entries = entries.collect();
        self.outstanding.push_back(Outstanding {
            commit: unconstrained(journal.database.commit(batch)),
            arrivals,
            answer,
        });
        Group {
            entries,
            answer: answered,
        }
    }
}

impl Shared {
    /// Lets in the messages whose commits are answered, in the order in which they were accepted.
    pub(crate) fn settle_commits(&self) {
        let Some(journal) = &self.journal else {
            return;
        };
        let mut context = Context::from_waker(&journal.waker);
        let mut answers = Vec::new();
        {
            let mut state = self.lock();
            let now = self.clock.now();
            while let Some(first) = state.outstanding.front_mut() {
                let Poll::Ready(result) = first.commit.poll_unpin(&mut context) else {
                    break;
                };
                let Some(Outstanding { arrivals, answer, .. }) = state.outstanding.pop_front() else {
                    break;
                };
                match &result {
                    Ok(()) => {
                        let stranded = state.join(arrivals, now);
                        let writes = stranded
                            .iter()
                            .flat_map(|arrival| journal::removal(&arrival.queue, &arrival.message));
                        self.write_soon(&mut state, writes.collect());
                    }
                    Err(error) => {
                        state.turn_away(&arrivals);
                        self.note_failure(&mut state, error);
                    }
                }
                answers.push((answer, result));
            }
        }
        for (answer, result) in answers {
            // Nobody has to wait for the answer.
            drop(answer.send(result));
        }
    }
}
