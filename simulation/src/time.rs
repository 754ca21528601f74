//! The clocks of a simulated world: one for each process, all moved together, each of which may be wrong by itself.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use longhaul_core::clock::{Clock, Timestamp};

/// A clock that the world moves, and that a fault may step. Clones share one time.
#[derive(Clone)]
pub(crate) struct SimClock(Arc<Mutex<State>>);

struct State {
    /// What it shows.
    now: Timestamp,
    /// By how many microseconds it is ahead of the world.
    ahead: i64,
    next_timer: u64,
    timers: BTreeMap<(Timestamp, u64), Waker>,
}

impl SimClock {
    pub(crate) fn starting_at(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: start,
            ahead: 0,
            next_timer: 0,
            timers: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world's time is `world` now.
    pub(crate) fn follow(&self, world: Timestamp) {
        let mut state = self.lock();
        state.now = shifted(world, state.ahead);
        let woken = state.take_due();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Somebody sets the clock: it jumps by so many microseconds.
    pub(crate) fn step(&self, micros: i64) {
        let mut state = self.lock();
        state.ahead = state.ahead.saturating_add(micros);
        state.now = shifted(state.now, micros);
        let woken = state.take_due();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// When, in the world's time, somebody wants to be woken next.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        let state = self.lock();
        let (due, _) = state.timers.keys().next()?;
        Some(shifted(*due, state.ahead.saturating_neg()))
    }
}

impl State {
    fn take_due(&mut self) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(first) = self.timers.first_entry()
            && first.key().0 <= self.now
        {
            due.push(first.remove());
        }
        due
    }
}

fn shifted(time: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(time.as_micros().saturating_add(micros))
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimClock").field(&self.lock().now).finish()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(Sleep {
            clock: self.clone(),
            due,
            registered: None,
        })
    }
}

struct Sleep {
    clock: SimClock,
    due: Timestamp,
    registered: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut state = clock.lock();
        if state.now >= self.due {
            return Poll::Ready(());
        }
        let number = *self.registered.get_or_insert_with(|| {
            state.next_timer += 1;
            state.next_timer
        });
        let waker = state.timers.entry((self.due, number));
        waker
            .and_modify(|waker| waker.clone_from(cx.waker()))
            .or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.registered {
            self.clock.lock().timers.remove(&(self.due, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn when_a_clock_is_set_back_a_sleeper_waits_for_its_time_all_the_same() {
        let start = Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let clock = SimClock::starting_at(start);
        let mut sleeper = clock.sleep_until(start + Duration::from_secs(10));
        assert!((&mut sleeper).now_or_never().is_none());
        assert_eq!(clock.next_timer(), Some(start + Duration::from_secs(10)));
        clock.step(-60_000_000);
        assert_eq!(clock.next_timer(), Some(start + Duration::from_secs(70)));
        clock.follow(start + Duration::from_secs(69));
        assert!((&mut sleeper).now_or_never().is_none());
        clock.follow(start + Duration::from_secs(70));
        assert!(sleeper.now_or_never().is_some());
    }
}
