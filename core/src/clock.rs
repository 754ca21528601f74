//! Time as an argument: timestamps and the clocks that give them.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, UTC, in whole microseconds since 1970-01-01.
///
/// Reads and prints one strict form of RFC 3339: always `Z`, no leap seconds, at most six digits of a
/// second's fraction. Years 0000 to 9998.
///
/// ```
/// use longhaul_core::clock::Timestamp;
/// assert!(Timestamp::parse("2026-11-21T10:00:00.5Z").is_ok());
/// assert!(Timestamp::parse("2026-11-21T10:00:00+01:00").is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);
    /// 9999-01-01T00:00:00Z, the latest point that is kept.
    pub const MAX: Self = Self(253_370_764_800_000_000);
    /// 0000-01-01T00:00:00Z, the earliest point that is kept.
    pub const MIN: Self = Self(-62_167_219_200_000_000);

    /// From microseconds since the epoch; clamped to [`Timestamp::MIN`]..=[`Timestamp::MAX`].
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        if micros > Self::MAX.0 {
            Self::MAX
        } else if micros < Self::MIN.0 {
            Self::MIN
        } else {
            Self(micros)
        }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads the strict form.
    ///
    /// # Errors
    /// Anything but UTC with a `Z`, impossible dates, `:60` seconds, more than six fraction digits.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        let fault = || InvalidTimestamp {
            text: text.chars().take(40).collect(),
        };
        let bytes = text.as_bytes();
        let shaped = (20..=27).contains(&bytes.len())
            && bytes.is_ascii()
            && bytes[4] == b'-'
            && bytes[7] == b'-'
            && bytes[10] == b'T'
            && bytes[13] == b':'
            && bytes[16] == b':'
            && bytes[17] < b'6'
            && bytes[bytes.len() - 1] == b'Z'
            && (bytes.len() == 20 || (bytes[19] == b'.' && bytes.len() > 21));
        if !shaped {
            return Err(fault());
        }
        let parsed: jiff::Timestamp = text.parse().map_err(|_| fault())?;
        let micros = parsed.as_microsecond();
        if (Self::MIN.0..=Self::MAX.0).contains(&micros) {
            Ok(Self(micros))
        } else {
            Err(fault())
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::MAX`].
    fn add(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::MIN`].
    fn sub(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            Self::parse(&text).map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self::from_micros)
        }
    }
}

/// A text that is not a timestamp of the strict form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTimestamp {
    text: String,
}

impl fmt::Display for InvalidTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "read the time {:?}: it must look like 2026-11-21T10:00:00Z (UTC, `Z`, at most six fraction digits)",
            self.text
        )
    }
}

impl std::error::Error for InvalidTimestamp {}

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

    #[test]
    fn when_a_time_is_not_of_the_strict_form_it_is_refused() {
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T10:00:00",
            "2026-11-21T10:00:00+00:00",
            "2026-11-21T10:00:60Z",
            "2026-02-30T10:00:00Z",
            "2026-11-21t10:00:00Z",
            "2026-11-21T10:00:00.Z",
            "2026-11-21T10:00:00.1234567Z",
            "2026-11-21T10:00:00z",
            "NaN",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn when_a_time_is_printed_it_reads_back() {
        for micros in [
            0,
            1,
            -1,
            1_763_692_800_123_456,
            Timestamp::MAX.as_micros(),
            Timestamp::MIN.as_micros(),
        ] {
            let time = Timestamp::from_micros(micros);
            assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        }
    }

    #[test]
    fn when_arithmetic_would_overflow_it_saturates() {
        assert_eq!(Timestamp::UNIX_EPOCH + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::UNIX_EPOCH - Duration::MAX, Timestamp::MIN);
    }

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
