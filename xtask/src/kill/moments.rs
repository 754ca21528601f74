//! When who is killed: drawn from a seed, in terms of how far the run is.

use std::time::Duration;

use longhaul::ids::{Randomness, SeededRandomness};

/// One in so many kills is followed by another one while the process starts again.
const AGAIN: u64 = 6;
/// How long after its start that one comes, at most.
const AGAIN_WITHIN_MS: u64 = 400;
/// How far past its point of the run a kill comes, at most.
const JITTER_MS: u64 = 50;

/// A kill, or a restart of the broker, that is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Once so many orders have an outcome.
    pub(crate) outcomes: u64,
    /// So long after that, or after the moment before where that is later.
    pub(crate) after: Duration,
    /// Picks the victim.
    pub(crate) victim: u64,
    /// The same victim as the moment before, which has just been started again.
    pub(crate) again: bool,
}

/// `kills` moments in the first nine tenths of the run, in order.
pub(crate) fn kills(seed: u64, kills: u32, orders: u64) -> Vec<Moment> {
    let draw = SeededRandomness::new(seed);
    let mut points: Vec<u64> = (0..kills)
        .map(|_| draw.next_u64() % (orders * 9 / 10).max(1))
        .collect();
    points.sort_unstable();
    let mut moments: Vec<Moment> = Vec::with_capacity(points.len());
    for point in points {
        let again = !moments.is_empty() && draw.next_u64().is_multiple_of(AGAIN);
        let before = moments.last().filter(|_| again);
        let within = if again { AGAIN_WITHIN_MS } else { JITTER_MS };
        moments.push(Moment {
            outcomes: before.map_or(point, |before| before.outcomes),
            after: Duration::from_millis(draw.next_u64() % within),
            victim: before.map_or_else(|| draw.next_u64(), |before| before.victim),
            again,
        });
    }
    moments
}

/// At how many outcomes the broker is killed: spread over the run.
pub(crate) fn restarts(restarts: u32, orders: u64) -> Vec<u64> {
    let parts = u64::from(restarts) + 1;
    (1..parts).map(|part| orders * part / parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_seed_is_the_same_so_are_the_moments() {
        assert_eq!(kills(7, 50, 20_000), kills(7, 50, 20_000));
        assert_ne!(kills(7, 50, 20_000), kills(8, 50, 20_000));
    }

    #[test]
    fn moments_are_in_order_and_some_hit_a_process_that_starts() {
        let moments = kills(1, 50, 20_000);
        assert_eq!(moments.len(), 50);
        assert!(moments.is_sorted_by_key(|moment| moment.outcomes));
        assert!(moments.iter().any(|moment| moment.again));
        assert!(moments.iter().all(|moment| moment.outcomes < 18_000));
    }

    #[test]
    fn restarts_of_the_broker_are_spread_over_the_run() {
        assert_eq!(restarts(3, 20_000), [5_000, 10_000, 15_000]);
        assert!(restarts(0, 20_000).is_empty());
    }
}
