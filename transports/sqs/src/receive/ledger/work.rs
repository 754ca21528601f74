//! What there is to do next, and what its outcome changes.

use super::{
    Answer, Arc, Asked, Duration, ENTRIES, Fault, FaultKind, Held, How, Instant, LONGEST, Ledger, Settled,
    State, seconds_up,
};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Deletes settled messages.
    Delete,
    /// Makes messages visible, now or later.
    Release,
    /// Keeps messages invisible that are being handled.
    Renew,
}

/// One request: a batch of at most ten.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) task: Task,
    pub(crate) entries: Vec<Entry>,
}

/// One message of a request.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) receipt: Arc<str>,
    /// How long it stays invisible from now on.
    pub(crate) seconds: i32,
    key: u64,
    asked: Option<Asked>,
}

impl Ledger {
    /// What is to be sent now, in at most `room` requests, and when to look again.
    pub(crate) fn next(&self, now: Instant, room: usize) -> (Vec<Work>, Option<Instant>) {
        let mut state = self.lock();
        self.lapse(&mut state, now);
        let mut all = Vec::new();
        let mut wake: Option<Instant> = None;
        for task in [Task::Delete, Task::Release] {
            while all.len() < room
                && let Some(work) = self.settlements(&mut state, task, now)
            {
                all.push(work);
            }
        }
        while all.len() < room
            && let Some(work) = self.renewals(&mut state, now)
        {
            all.push(work);
        }
        let asked = state
            .asked
            .iter()
            .map(|one| one.ready.max(one.since + self.linger));
        let held = state.held.values().filter(|held| !held.is_busy);
        let held = held.map(|held| {
            if held.is_asked {
                held.until
            } else {
                held.until.min(held.renew)
            }
        });
        for at in asked.chain(held) {
            wake = Some(wake.map_or(at, |wake| wake.min(at)));
        }
        (all, wake)
    }

    /// Gives up what others may take by now.
    fn lapse(&self, state: &mut State, now: Instant) {
        let gone: Vec<u64> = state
            .held
            .iter()
            .filter(|(_, held)| !held.is_busy && held.until <= now)
            .map(|(key, _)| *key)
            .collect();
        if !gone.is_empty() {
            self.changed.notify_waiters();
        }
        for key in gone {
            state.lose(key);
            if let Some(at) = state.asked.iter().position(|asked| asked.key == key)
                && let Some(asked) = state.asked.remove(at)
            {
                state.stale += 1;
                self.answer(state, asked, Ok(Settled::Lost));
            }
        }
    }

    /// Settlements that are many enough, or have waited long enough.
    fn settlements(&self, state: &mut State, task: Task, now: Instant) -> Option<Work> {
        let fits = |asked: &Asked| asked.ready <= now && (asked.how == How::Delete) == (task == Task::Delete);
        let ready: Vec<usize> = (0..state.asked.len())
            .filter(|at| fits(&state.asked[*at]))
            .take(ENTRIES)
            .collect();
        let is_old = ready.iter().any(|at| state.asked[*at].since + self.linger <= now);
        if ready.len() < ENTRIES && !is_old {
            return None;
        }
        let mut entries = Vec::with_capacity(ready.len());
        for at in ready.into_iter().rev() {
            let Some(asked) = state.asked.remove(at) else {
                continue;
            };
            let Some(held) = state.held.get_mut(&asked.key) else {
                self.answer(state, asked, Ok(Settled::Lost));
                continue;
            };
            held.is_busy = true;
            entries.push(Entry {
                receipt: Arc::clone(&held.receipt),
                seconds: match asked.how {
                    How::Delete => 0,
                    How::Release(seconds) => seconds,
                },
                key: asked.key,
                asked: Some(asked),
            });
        }
        entries.reverse();
        (!entries.is_empty()).then_some(Work { task, entries })
    }

    /// Messages of which half of the lease is over, and those of which it soon will be, up to a full batch.
    fn renewals(&self, state: &mut State, now: Instant) -> Option<Work> {
        let open = |held: &Held| !held.is_asked && !held.is_busy;
        if !state.held.values().any(|held| open(held) && held.renew <= now) {
            return None;
        }
        let soon = now + self.lease / 8;
        let mut entries = Vec::new();
        for (key, held) in &mut state.held {
            if entries.len() == ENTRIES {
                break;
            }
            if !open(held) || held.renew > soon {
                continue;
            }
            let left = (held.taken + LONGEST).saturating_duration_since(now);
            let seconds = seconds_up(self.lease).min(i32::try_from(left.as_secs()).unwrap_or(i32::MAX));
            if seconds < 1 {
                // The longest that SQS allows is reached: it lapses.
                held.renew = held.until;
                continue;
            }
            held.is_busy = true;
            entries.push(Entry {
                receipt: Arc::clone(&held.receipt),
                seconds,
                key: *key,
                asked: None,
            });
        }
        (!entries.is_empty()).then_some(Work {
            task: Task::Renew,
            entries,
        })
    }

    /// Notes what became of a request that was sent at `sent`.
    pub(crate) fn note(&self, work: Work, results: Vec<Result<(), Fault>>, sent: Instant) {
        let now = Instant::now();
        let mut state = self.lock();
        for (entry, result) in work.entries.into_iter().zip(results) {
            if let Some(held) = state.held.get_mut(&entry.key) {
                held.is_busy = false;
            }
            match entry.asked {
                Some(asked) => self.note_settled(&mut state, asked, result, now),
                None => self.note_renewed(&mut state, entry.key, entry.seconds, result, sent, now),
            }
        }
        drop(state);
        self.work.notify_one();
        self.changed.notify_waiters();
    }

    fn note_settled(&self, state: &mut State, mut asked: Asked, result: Result<(), Fault>, now: Instant) {
        let until = state.held.get(&asked.key).map(|held| held.until);
        asked.tries += 1;
        let answer = match result {
            Ok(()) => Ok(Settled::Done),
            Err(fault) if is_gone(&fault) => {
                state.stale += 1;
                state.lose(asked.key);
                Ok(Settled::Lost)
            }
            Err(fault)
                if fault.is_passing()
                    && asked.tries < self.tries
                    && until.is_some_and(|until| now < until) =>
            {
                asked.ready = now + self.pause * 2_u32.saturating_pow(asked.tries.min(8));
                state.asked.push_back(asked);
                return;
            }
            Err(fault) => {
                state.lose(asked.key);
                Err(fault.while_doing("settle a message"))
            }
        };
        drop(state.remove(asked.key));
        self.answer(state, asked, answer);
    }

    fn note_renewed(
        &self,
        state: &mut State,
        key: u64,
        seconds: i32,
        result: Result<(), Fault>,
        sent: Instant,
        now: Instant,
    ) {
        let Some(held) = state.held.get_mut(&key) else {
            return;
        };
        match result {
            Ok(()) => {
                let lease = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                held.until = sent + lease;
                held.renew = sent + lease / 2;
            }
            Err(fault) if fault.is_passing() => held.renew = now + self.lease / 10,
            Err(fault) => {
                tracing::warn!(
                    fault = fault.text,
                    "a message could not be kept invisible; somebody else may get it"
                );
                state.lose(key);
            }
        }
    }

    fn answer(&self, state: &mut State, asked: Asked, answer: Answer) {
        state.settling -= 1;
        // Who dropped a message does not listen.
        drop(asked.done.send(answer));
        self.changed.notify_waiters();
    }
}

impl State {
    /// The right to a message is gone: whoever handles it is told.
    fn lose(&mut self, key: u64) {
        if let Some(held) = self.remove(key) {
            held.lost.send_replace(true);
        }
    }

    fn remove(&mut self, key: u64) -> Option<Held> {
        let held = self.held.remove(&key)?;
        self.bytes -= held.bytes;
        Some(held)
    }
}

/// Whether the right to settle is gone. SQS calls a receipt that has lapsed an invalid parameter.
fn is_gone(fault: &Fault) -> bool {
    matches!(
        fault.kind,
        FaultKind::Stale | FaultKind::Refused | FaultKind::Missing
    )
}
