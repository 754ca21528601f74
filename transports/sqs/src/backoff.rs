//! The pause between two attempts: doubling, with full jitter, without a last one.

use std::{sync::Arc, time::Duration};

use longhaul_core::ids::Randomness;

use crate::timing::Timing;

/// Counts failures and says how long to pause after each.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    randomness: Arc<dyn Randomness>,
}

impl Backoff {
    pub(crate) fn new(timing: &Timing, randomness: Arc<dyn Randomness>) -> Self {
        Self {
            first: timing.first_pause,
            longest: timing.longest_pause,
            next: timing.first_pause,
            randomness,
        }
    }

    /// The pause after one more failure: anything up to a bound that doubles each time.
    pub(crate) fn pause(&mut self) -> Duration {
        let bound = self.next;
        self.next = (bound * 2).min(self.longest);
        let micros = u64::try_from(bound.as_micros())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        Duration::from_micros(self.randomness.next_u64() % micros)
    }

    /// A success: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::ids::SeededRandomness;

    use super::*;

    #[test]
    fn when_failures_go_on_the_bound_doubles_up_to_the_longest_and_success_resets_it() {
        let mut backoff = Backoff::new(&Timing::default(), Arc::new(SeededRandomness::new(1)));
        for bound in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            assert_eq!(backoff.next, Duration::from_millis(bound));
            assert!(backoff.pause() <= Duration::from_millis(bound));
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
