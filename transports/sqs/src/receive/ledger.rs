//! What a receiver holds, until when, and what is to be told to SQS about it. It decides; the keeper acts.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use longhaul_core::transport::{Settled, TransportError};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, oneshot, watch},
    time::Instant,
};

use crate::{
    batch::ENTRIES,
    fault::{Fault, FaultKind},
    timing::{Timing, seconds_up},
};

mod work;

pub(crate) use work::{Task, Work};

/// The longest that SQS lets a message be invisible, counted from the moment when it was taken.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// What becomes of a settlement.
pub(crate) type Answer = Result<Settled, TransportError>;

/// How a message is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It is done with.
    Delete,
    /// It comes again after so many seconds.
    Release(i32),
}

/// All that one receiver holds. As large as its prefetch.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    /// There may be something to do.
    pub(crate) work: Notify,
    /// Something was settled.
    changed: Notify,
    unsettled_bytes: usize,
    linger: Duration,
    lease: Duration,
    answer: Duration,
    pause: Duration,
    tries: u32,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    held: BTreeMap<u64, Held>,
    asked: VecDeque<Asked>,
    /// Settlements not answered yet, under way among them.
    settling: usize,
    /// Of all messages that are held.
    bytes: usize,
    /// The receiver and its pollers.
    open: usize,
    stale: u64,
}

#[derive(Debug)]
struct Held {
    receipt: Arc<str>,
    bytes: usize,
    taken: Instant,
    /// When others may take it.
    until: Instant,
    renew: Instant,
    /// A settlement was asked for, so it is not renewed any more.
    is_asked: bool,
    /// A request about it is under way.
    is_busy: bool,
    lost: watch::Sender<bool>,
    _permit: OwnedSemaphorePermit,
}

/// A settlement that was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    key: u64,
    how: How,
    since: Instant,
    /// Not before: after a failure.
    ready: Instant,
    tries: u32,
    done: oneshot::Sender<Answer>,
}

/// Somebody who may still bring messages into the ledger.
#[derive(Debug)]
pub(crate) struct Open(Arc<Ledger>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().open -= 1;
        self.0.work.notify_one();
    }
}

impl Ledger {
    pub(crate) fn new(timing: &Timing, unsettled_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            work: Notify::new(),
            changed: Notify::new(),
            unsettled_bytes,
            linger: timing.linger,
            lease: timing.lease,
            answer: timing.answer + timing.credentials,
            pause: timing.first_pause,
            tries: timing.tries,
        }
    }

    pub(crate) fn open(ledger: &Arc<Self>) -> Open {
        ledger.lock().open += 1;
        Open(Arc::clone(ledger))
    }

    /// Enters a message that was just taken. The lease is reckoned a little short: the answer was on its way for a while.
    pub(crate) fn enter(
        &self,
        receipt: &str,
        bytes: usize,
        permit: OwnedSemaphorePermit,
    ) -> (u64, watch::Receiver<bool>) {
        let taken = Instant::now();
        let (lost, watched) = watch::channel(false);
        let margin = (self.lease / 10).min(Duration::from_secs(1));
        let mut state = self.lock();
        let key = state.next;
        state.next += 1;
        state.bytes += bytes;
        state.held.insert(
            key,
            Held {
                receipt: Arc::from(receipt),
                bytes,
                taken,
                until: taken + self.lease - margin,
                renew: taken + self.lease / 2,
                is_asked: false,
                is_busy: false,
                lost,
                _permit: permit,
            },
        );
        drop(state);
        self.work.notify_one();
        (key, watched)
    }

    /// Asks for a settlement. `None`: the right to it is gone.
    pub(crate) fn settle(&self, key: u64, how: How) -> Option<oneshot::Receiver<Answer>> {
        let now = Instant::now();
        let (done, answer) = oneshot::channel();
        let mut state = self.lock();
        let held = state.held.get_mut(&key).filter(|held| !held.is_asked)?;
        held.is_asked = true;
        state.settling += 1;
        state.asked.push_back(Asked {
            key,
            how,
            since: now,
            ready: now,
            tries: 0,
            done,
        });
        drop(state);
        self.work.notify_one();
        Some(answer)
    }

    /// Waits until every settlement that was asked for is answered.
    pub(crate) async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().settling == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Waits until less is held than may be.
    pub(crate) async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().bytes < self.unsettled_bytes {
                return;
            }
            changed.await;
        }
    }

    /// The longest that an answer to a settlement can take.
    pub(crate) fn patience(&self) -> Duration {
        self.lease + self.answer * 2
    }

    /// How many settlements came too late.
    pub(crate) fn stale(&self) -> u64 {
        self.lock().stale
    }

    /// Whether nothing is held and nobody brings anything any more.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        state.open == 0 && state.held.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
