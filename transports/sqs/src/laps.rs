//! Delays longer than SQS keeps, as laps of a quarter of an hour: the arithmetic.
//!
//! SQS keeps a message for at most 900 s. With a store the rest waits there, and this transport is only asked for the
//! last 900 s. What is here is for senders without a store: a message goes round in a FIFO queue whose every delivery
//! is delayed by 900 s, as often as it takes, and its last part is an ordinary delay on its own queue. It carries the
//! time when it is due, so that what each lap takes beside the 900 s does not add up.

use std::time::Duration;

/// The longest delay of SQS, and the length of a lap.
pub const LAP: Duration = Duration::from_secs(900);

/// What happens next to a message that has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To its queue, with this delay.
    Direct(Duration),
    /// Once round, and then this much is left.
    Lap(Duration),
}

/// The next step for a message that has to wait for `rest`.
///
/// ```
/// use std::time::Duration;
/// use longhaul_sqs::laps::{Next, next};
/// assert_eq!(next(Duration::from_secs(900)), Next::Direct(Duration::from_secs(900)));
/// assert_eq!(next(Duration::from_secs(901)), Next::Lap(Duration::from_secs(1)));
/// ```
#[must_use]
pub fn next(rest: Duration) -> Next {
    step(rest, LAP)
}

/// The same with laps of another length.
pub(crate) fn step(rest: Duration, lap: Duration) -> Next {
    if rest <= lap {
        Next::Direct(rest)
    } else {
        Next::Lap(rest.saturating_sub(lap))
    }
}

/// How many laps a delay takes, and the delay that is left after them.
///
/// ```
/// use std::time::Duration;
/// use longhaul_sqs::laps::laps;
/// assert_eq!(laps(Duration::from_secs(1925)), (2, Duration::from_secs(125)));
/// ```
#[must_use]
pub fn laps(delay: Duration) -> (u64, Duration) {
    let lap = LAP.as_nanos();
    let laps = delay.as_nanos().saturating_sub(1) / lap;
    let laps = u64::try_from(laps).unwrap_or(u64::MAX);
    let waited = Duration::from_secs(LAP.as_secs().saturating_mul(laps));
    (laps, delay.saturating_sub(waited))
}

/// The deduplication id of a lap: a message that comes round must not count as sent already.
#[must_use]
pub fn deduplication_id(message: &str, lap: u64, replay: u64) -> String {
    format!("{message}.{lap}.{replay}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn when_a_delay_fits_it_is_direct_and_else_it_goes_round() {
        assert_eq!(next(s(0)), Next::Direct(s(0)));
        assert_eq!(next(s(845)), Next::Direct(s(845)));
        assert_eq!(next(s(900)), Next::Direct(s(900)));
        assert_eq!(next(s(901)), Next::Lap(s(1)));
        assert_eq!(next(s(1925)), Next::Lap(s(1025)));
        assert_eq!(next(s(1025)), Next::Lap(s(125)));
        assert_eq!(next(s(125)), Next::Direct(s(125)));
        assert_eq!(
            next(s(900) + Duration::from_nanos(1)),
            Next::Lap(Duration::from_nanos(1))
        );
    }

    #[test]
    fn when_laps_are_counted_they_are_as_many_as_are_run() {
        let year = s(365 * 24 * 3600);
        for delay in [s(0), s(1), s(900), s(901), s(1800), s(1801), s(1925), year] {
            let (mut rest, mut count) = (delay, 0);
            while let Next::Lap(left) = next(rest) {
                (rest, count) = (left, count + 1);
            }
            assert_eq!(laps(delay), (count, rest), "{delay:?}");
        }
        assert_eq!(laps(s(900)), (0, s(900)));
        assert_eq!(laps(s(901)), (1, s(1)));
        assert_eq!(laps(s(1925)), (2, s(125)));
        assert_eq!(laps(year).0, 35_039);
    }

    #[test]
    fn when_a_message_goes_round_each_lap_has_an_id_of_its_own() {
        assert_ne!(deduplication_id("m", 1, 0), deduplication_id("m", 2, 0));
        assert_ne!(deduplication_id("m", 1, 0), deduplication_id("m", 1, 1));
    }
}
