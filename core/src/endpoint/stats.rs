//! Counters of one endpoint, readable while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

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
