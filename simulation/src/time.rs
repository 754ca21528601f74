//! The clocks of a simulated world: one for each process, all moved together, each of which may be wrong by itself.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

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
    /// Of those who wait for a time that it shows.
    timers: Timers,
    /// Of those who wait for a while, by the time of the world.
    whiles: Timers,
}

type Timers = BTreeMap<(Timestamp, u64), Waker>;

impl SimClock {
    pub(crate) fn starting_at(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: start,
            ahead: 0,
            next_timer: 0,
            timers: Timers::new(),
            whiles: Timers::new(),
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
        let shown = state.timers.keys().next().map(|(due, _)| state.to_world(*due));
        let passed = state.whiles.keys().next().map(|(due, _)| *due);
        shown.into_iter().chain(passed).min()
    }
}

impl State {
    fn to_world(&self, time: Timestamp) -> Timestamp {
        shifted(time, self.ahead.saturating_neg())
    }

    fn take_due(&mut self) -> Vec<Waker> {
        let world = self.to_world(self.now);
        let mut due = Vec::new();
        for (timers, now) in [(&mut self.timers, self.now), (&mut self.whiles, world)] {
            while let Some(first) = timers.first_entry()
                && first.key().0 <= now
            {
                due.push(first.remove());
            }
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
            is_while: false,
            registered: None,
        })
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let state = self.lock();
        let due = state.to_world(state.now) + duration;
        drop(state);
        Box::pin(Sleep {
            clock: self.clone(),
            due,
            is_while: true,
            registered: None,
        })
    }
}

struct Sleep {
    clock: SimClock,
    due: Timestamp,
    /// Whether it is due by the time of the world.
    is_while: bool,
    registered: Option<u64>,
}

impl State {
    fn timers(&mut self, is_while: bool) -> &mut Timers {
        if is_while {
            &mut self.whiles
        } else {
            &mut self.timers
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut state = clock.lock();
        let now = if self.is_while {
            state.to_world(state.now)
        } else {
            state.now
        };
        if now >= self.due {
            return Poll::Ready(());
        }
        let number = *self.registered.get_or_insert_with(|| {
            state.next_timer += 1;
            state.next_timer
        });
        let waker = state.timers(self.is_while).entry((self.due, number));
        waker
            .and_modify(|waker| waker.clone_from(cx.waker()))
            .or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.registered {
            self.clock
                .lock()
                .timers(self.is_while)
                .remove(&(self.due, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

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

    #[test]
    fn when_a_clock_is_set_back_whoever_sleeps_for_a_while_wakes_as_before() {
        let start = Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let clock = SimClock::starting_at(start);
        let mut sleeper = clock.sleep(Duration::from_secs(10));
        assert!((&mut sleeper).now_or_never().is_none());
        clock.step(-60_000_000);
        assert_eq!(clock.next_timer(), Some(start + Duration::from_secs(10)));
        clock.step(120_000_000);
        clock.follow(start + Duration::from_secs(9));
        assert!((&mut sleeper).now_or_never().is_none());
        clock.follow(start + Duration::from_secs(10));
        assert!(sleeper.now_or_never().is_some());
    }
}
