//! The bounded queue between callers and the writer.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use crate::{batch::Batch, commit_error::CommitError, failure::Failure, options::Options};

/// How long a batch that nobody waits for may wait for one that somebody does, to share its sync.
const LAZY_WAIT: Duration = Duration::from_millis(50);

/// A batch on its way, with whom to tell; none when nobody waits for it.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    pub(crate) answer: Option<oneshot::Sender<Result<(), CommitError>>>,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    room: Notify,
    max_group: usize,
    max_group_bytes: usize,
    max_batches: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Jobs that somebody waits for.
    awaited: usize,
    /// Whether the writer sleeps until it is woken.
    writer_sleeps: bool,
    /// Whether somebody waits for jobs that nobody waits for.
    hurried: bool,
    closed: bool,
    failure: Option<Failure>,
}

impl Queue {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            room: Notify::new(),
            max_group: options.max_group,
            max_group_bytes: options.max_group_bytes,
            max_batches: options.queue_batches,
            max_bytes: options.queue_bytes,
        }
    }

    pub(crate) fn push(&self, job: Job) -> Result<(), CommitError> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            return Err(CommitError::failed(failure.clone()));
        }
        if state.closed {
            return Err(CommitError::closed());
        }
        if !self.has_room(&state, job.batch.bytes()) {
            return Err(CommitError::busy(state.jobs.len(), state.bytes));
        }
        state.bytes += job.batch.bytes();
        state.awaited += usize::from(job.answer.is_some());
        let awaited = job.answer.is_some();
        state.jobs.push_back(job);
        let worth_waking = awaited || state.jobs.len() == 1 || state.jobs.len() >= self.max_group;
        if state.writer_sleeps && worth_waking {
            state.writer_sleeps = false;
            drop(state);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Returns when a small batch would find room, or will be refused for another reason than room.
    pub(crate) async fn ready(&self) {
        loop {
            let mut freed = std::pin::pin!(self.room.notified());
            freed.as_mut().enable();
            {
                let state = self.lock();
                if state.closed || state.failure.is_some() || self.has_room(&state, 0) {
                    return;
                }
            }
            freed.await;
        }
    }

    /// The next jobs in order; none once closed and empty. Blocks.
    pub(crate) fn next_group(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        while state.awaited == 0 && state.jobs.len() < self.max_group && !state.closed {
            state.writer_sleeps = true;
            if state.jobs.is_empty() {
                state.hurried = false;
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if state.hurried {
                break;
            } else {
                let waited = self.arrived.wait_timeout(state, LAZY_WAIT);
                let (woken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                state = woken;
                if waited.timed_out() {
                    break;
                }
            }
        }
        state.writer_sleeps = false;
        let jobs = self.take(&mut state);
        drop(state);
        self.room.notify_waiters();
        (!jobs.is_empty()).then_some(jobs)
    }

    /// From now on every batch is refused with `failure`. Returns the ones that were waiting.
    pub(crate) fn fail(&self, failure: Failure) -> Vec<Job> {
        let mut state = self.lock();
        state.failure = Some(failure);
        state.bytes = 0;
        state.awaited = 0;
        let waiting = std::mem::take(&mut state.jobs);
        drop(state);
        self.room.notify_waiters();
        waiting.into()
    }

    /// Lets the writer take what is queued at once.
    pub(crate) fn hurry(&self) {
        self.lock().hurried = true;
        self.arrived.notify_one();
    }

    /// From now on every batch is refused. The ones that are waiting are still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
        self.room.notify_waiters();
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    fn take(&self, state: &mut State) -> Vec<Job> {
        let mut jobs = Vec::with_capacity(state.jobs.len().min(self.max_group));
        let mut bytes = 0;
        while jobs.len() < self.max_group {
            // A batch that is too large for any group is one by itself.
            let fits = |job: &mut Job| jobs.is_empty() || bytes + job.batch.bytes() <= self.max_group_bytes;
            let Some(job) = state.jobs.pop_front_if(fits) else {
                break;
            };
            bytes += job.batch.bytes();
            state.awaited -= usize::from(job.answer.is_some());
            jobs.push(job);
        }
        state.bytes -= bytes;
        jobs
    }

    fn has_room(&self, state: &State, bytes: usize) -> bool {
        state.jobs.is_empty()
            || (state.jobs.len() < self.max_batches && state.bytes + bytes <= self.max_bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn when_a_batch_would_make_a_group_too_large_it_waits_for_the_next_one() {
        let queue = Queue::new(&Options::default());
        let limit = Options::default().max_group_bytes;
        for bytes in [limit / 2, limit / 2, 2 * limit, 1, 1] {
            let mut batch = Batch::new();
            batch.put(Bytes::from_static(b"key"), Bytes::from(vec![0; bytes]));
            queue.push(Job { batch, answer: None }).unwrap();
        }
        queue.close();
        let mut groups = std::iter::from_fn(|| Some(queue.next_group()?.len()));
        // Keys count too, so the halves are more than a group.
        assert!(groups.by_ref().eq([1, 1, 1, 2]));
    }
}
