//! A clock that runs faster than the system's.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Clock, SystemClock, Timestamp};

/// The system's clock, sped up: from a starting point it runs `speed` times as fast.
///
/// ```
/// use longhaul_core::clock::{Clock, ScaledClock, Timestamp};
/// let clock = ScaledClock::starting_at(Timestamp::UNIX_EPOCH, 86_400.0);
/// assert_eq!(clock.to_real(std::time::Duration::from_secs(86_400)).as_secs(), 1);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ScaledClock {
    real_start: Timestamp,
    start: Timestamp,
    speed: f64,
}

impl ScaledClock {
    /// A clock that shows `start` now and runs `speed` times as fast as the system's; `speed` is held to 0.001..=1e9.
    #[must_use]
    pub fn starting_at(start: Timestamp, speed: f64) -> Self {
        let speed = if speed.is_finite() {
            speed.clamp(0.001, 1e9)
        } else {
            1.0
        };
        Self {
            real_start: SystemClock.now(),
            start,
            speed,
        }
    }
}

impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        let real = SystemClock.now().since(self.real_start);
        self.start + Duration::try_from_secs_f64(real.as_secs_f64() * self.speed).unwrap_or(Duration::MAX)
    }

    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'static, ()> {
        let clock = *self;
        Box::pin(async move {
            loop {
                let left = due.since(clock.now());
                if left.is_zero() {
                    return;
                }
                let real = clock.to_real(left).max(Duration::from_micros(1));
                tokio::time::sleep(real.min(Duration::from_secs(60))).await;
            }
        })
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(self.to_real(duration))
    }

    fn to_real(&self, duration: Duration) -> Duration {
        Duration::try_from_secs_f64(duration.as_secs_f64() / self.speed).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_clock_runs_fast_more_of_its_time_passes_within_real_time() {
        let second = Duration::from_secs(1);
        let fast = ScaledClock::starting_at(Timestamp::UNIX_EPOCH, 86_400.0);
        assert_eq!(fast.of_real(second).as_secs(), 86_400);
        assert_eq!(fast.to_real(fast.of_real(second)), second);
        assert_eq!(
            ScaledClock::starting_at(Timestamp::UNIX_EPOCH, 0.5).of_real(second),
            second / 2
        );
        assert_eq!(SystemClock.of_real(Duration::MAX), Duration::MAX);
        assert_eq!(fast.of_real(Duration::MAX), Duration::MAX);
    }
}
