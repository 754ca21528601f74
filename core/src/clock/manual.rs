//! A clock that somebody sets.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Clock, Timestamp};

/// A clock that stands still until it is told to advance: for tests, simulations and virtual time.
///
/// Clones share one time.
///
/// ```
/// use longhaul_core::clock::{Clock, ManualClock, Timestamp};
/// let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
/// clock.advance(std::time::Duration::from_secs(60));
/// assert_eq!(clock.now().to_string(), "1970-01-01T00:01:00Z");
/// ```
#[derive(Clone)]
pub struct ManualClock {
    shared: Arc<Mutex<Manual>>,
}

struct Manual {
    now: Timestamp,
    next_timer: u64,
    timers: BTreeMap<(Timestamp, u64), Waker>,
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manual = self.lock();
        f.debug_struct("ManualClock")
            .field("now", &manual.now)
            .field("timers", &manual.timers.len())
            .finish()
    }
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Manual {
                now: start,
                next_timer: 0,
                timers: BTreeMap::new(),
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Manual> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the time on by `duration` and wakes whoever waited for a time that has come.
    pub fn advance(&self, duration: Duration) {
        let to = self.now() + duration;
        self.advance_to(to);
    }

    /// Moves the time on to `to`; a time already passed changes nothing.
    pub fn advance_to(&self, to: Timestamp) {
        let due = {
            let mut manual = self.lock();
            manual.now = manual.now.max(to);
            let now = manual.now;
            let later = manual.timers.split_off(&(now, u64::MAX));
            std::mem::replace(&mut manual.timers, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// When the next sleeper wants to be woken.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.lock().timers.keys().next().map(|(due, _)| *due)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(ManualSleep {
            clock: self.clone(),
            due,
            registered: None,
        })
    }
}

struct ManualSleep {
    clock: ManualClock,
    due: Timestamp,
    registered: Option<u64>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut manual = clock.lock();
        if manual.now >= self.due {
            return Poll::Ready(());
        }
        let number = *self.registered.get_or_insert_with(|| {
            manual.next_timer += 1;
            manual.next_timer
        });
        manual.timers.insert((self.due, number), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(number) = self.registered {
            self.clock.lock().timers.remove(&(self.due, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn when_the_manual_clock_reaches_the_time_the_sleeper_wakes() {
        let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let due = clock.now() + Duration::from_secs(10);
        let sleeper = tokio::spawn(clock.sleep_until(due));
        while clock.next_timer().is_none() {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(9));
        assert_eq!(clock.next_timer(), Some(due));
        clock.advance(Duration::from_secs(1));
        sleeper.await.expect("the sleeper wakes");
        assert_eq!(clock.next_timer(), None);
    }
}
