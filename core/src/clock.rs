//! Time as an argument: timestamps and the clocks that give them.

mod manual;
mod scaled;
mod timestamp;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use manual::ManualClock;
pub use scaled::ScaledClock;
pub use timestamp::{InvalidTimestamp, Timestamp};

/// Where the time comes from.
///
/// Implementations never go back between two calls by more than the operating system's own clock does.
/// `sleep_until` is cancel-safe, never resolves before its time, and may resolve later.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Resolves once `now()` is at or after `due`.
    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'static, ()>;

    /// Resolves once so much time has passed. Where somebody may set the clock, that changes nothing of it: limits on calls
    /// are kept when the clock goes back.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now() + duration)
    }

    /// How long `duration` of this clock takes in the world outside (brokers have clocks of their own).
    fn to_real(&self, duration: Duration) -> Duration {
        duration
    }

    /// How much of this clock's time passes within `duration` of the world outside: the opposite of [`Clock::to_real`].
    ///
    /// Limits on calls of a broker or a store are about that world.
    fn of_real(&self, duration: Duration) -> Duration {
        const SAMPLE: Duration = Duration::from_secs(1_000_000);
        let real = self.to_real(SAMPLE);
        if real == SAMPLE {
            return duration;
        }
        let speed = SAMPLE.as_secs_f64() / real.as_secs_f64();
        Duration::try_from_secs_f64(duration.as_secs_f64() * speed).unwrap_or(Duration::MAX)
    }
}

/// Waits for `future`, for at most `limit` of `clock`'s time. `None`: the time ran out and the future was dropped.
pub async fn within<F: Future>(clock: &dyn Clock, limit: Duration, future: F) -> Option<F::Output> {
    let deadline = clock.sleep(limit);
    tokio::select! {
        biased;
        output = future => Some(output),
        () = deadline => None,
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the system for the time"
    )]
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now();
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Timestamp::UNIX_EPOCH + since,
            Err(before) => Timestamp::UNIX_EPOCH - before.duration(),
        }
    }

    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'static, ()> {
        // Naps of at most a minute: a stepped system clock is noticed soon, and tokio's timer range is kept.
        Box::pin(async move {
            loop {
                let left = due.since(Self.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(Duration::from_secs(60))).await;
            }
        })
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
