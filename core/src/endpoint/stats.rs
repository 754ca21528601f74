//! Counters of one endpoint, readable while it runs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::stateful::Became;

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper bounds of a [`Durations`]' buckets, in milliseconds: a factor of about two and a half apart, from what a
/// handler in memory takes to what a backlog of a day costs.
const BOUNDS: [u64; 20] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000,
    3_600_000, 21_600_000, 86_400_000,
];

/// How long something took, counted by length while the endpoint runs.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One for each bound, and one for what is longer.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn add(&self, took: Duration) {
        let at = BOUNDS.partition_point(|bound| took > Duration::from_millis(*bound));
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn read(&self) -> Durations {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        Durations {
            counts: counts.collect(),
            sum: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
        }
    }
}

/// How long something took, since the endpoint was built: how often by length, and the sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations {
    counts: Vec<u64>,
    sum: Duration,
}

impl Durations {
    /// How often it took at most so long and longer than the bound before, by rising bounds; the last has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS.iter().map(|millis| Some(Duration::from_millis(*millis)));
        bounds.chain([None]).zip(self.counts.iter().copied())
    }

    /// How often it took any time.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of it together.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

/// How many instances of what came to which status.
pub(super) type Counts = BTreeMap<Cow<'static, str>, BTreeMap<&'static str, u64>>;

#[derive(Debug, Default)]
pub(crate) struct Statuses(Mutex<Counts>);

impl Statuses {
    /// Those that there may be, none of which was seen.
    pub(crate) fn of(all: impl IntoIterator<Item = Became>) -> Self {
        let mut counts = Counts::new();
        for Became { what, status } in all {
            counts.entry(what).or_default().insert(status, 0);
        }
        Self(Mutex::new(counts))
    }

    pub(crate) fn add(&self, became: &[Became]) {
        // Most messages change none.
        if became.is_empty() {
            return;
        }
        let mut all = self.lock();
        for Became { what, status } in became {
            let of = all.entry(what.clone()).or_default();
            *of.entry(status).or_default() += 1;
        }
    }

    pub(crate) fn read(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: Counter),+ }

        /// What an endpoint has done since it was built.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Stats { $($(#[doc = $doc])+ pub $name: u64),+ }

        impl Counters {
            pub(crate) fn read(&self) -> Stats {
                Stats { $($name: self.$name.get()),+ }
            }
        }
    };
}

/// How long an endpoint's messages take.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) handling: Histogram,
    pub(crate) critical: Histogram,
}

/// How long an endpoint's messages take, of those that were handled since it was built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings {
    /// From the beginning of the attempt that succeeded to its commit.
    pub handling: Durations,
    /// From when a message was sent, or was due, to the commit of what it caused: what its sender waits for.
    pub critical: Durations,
}

impl Times {
    pub(crate) fn read(&self) -> Timings {
        Timings {
            handling: self.handling.read(),
            critical: self.critical.read(),
        }
    }
}

counters! {
    /// Messages taken from the broker, and timeouts that fired without it.
    received,
    /// Messages whose handling was committed.
    handled,
    /// Messages that were already handled, or older copies of ones still being retried.
    duplicates,
    /// Alarms of timeouts that were cancelled, moved, or had fired.
    stale_alarms,
    /// Messages for something finished.
    ignored,
    /// Attempts that failed.
    failures,
    /// Those of them that may fail, by their class: business as usual.
    expected_failures,
    /// Those of them that nobody foresaw: somebody should look.
    unexpected_failures,
    /// Delayed retries that were scheduled.
    delayed_retries,
    /// Messages put off because nothing takes them yet.
    put_off,
    /// Messages that waited for a breaker or a limit.
    held,
    /// Messages put off because too many waited for a breaker or a limit, or one did for too long.
    deferred,
    /// Times that a circuit breaker opened.
    breaker_openings,
    /// Messages set aside to wait in order behind one that failed.
    set_aside,
    /// Messages moved to the error queue.
    moved_to_errors,
    /// Failed messages that were forgotten, because a rule says so.
    discarded,
    /// Lost races that were run again.
    conflicts,
    /// Messages sent and confirmed.
    sent,
    /// Events that nobody subscribes to.
    without_subscribers,
    /// Sends that the broker did not confirm.
    send_failures,
    /// Overdue timeouts that fired without the broker.
    overdue,
    /// Rows set aside for people.
    parked,
    /// Messages given back to the broker.
    released,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_durations_are_added_each_counts_up_to_the_first_bound_that_it_is_not_over() {
        let histogram = Histogram::default();
        for micros in [0, 1_000, 1_001, 2_000, 86_400_000_000, 86_400_000_001] {
            histogram.add(Duration::from_micros(micros));
        }
        let read = histogram.read();
        let full: Vec<_> = read.buckets().filter(|(_, count)| *count > 0).collect();
        let day = Duration::from_secs(86_400);
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(full, [(millis(1), 2), (millis(2), 2), (Some(day), 1), (None, 1)]);
        assert_eq!(read.count(), 6);
        assert_eq!(read.sum(), day * 2 + Duration::from_micros(4_002));
    }
}
