//! How long anything may take.

use std::time::Duration;

use crate::laps::LAP;

/// Time limits of the transport. Every wait for AWS has one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// For the answer to one request that is not a poll.
    pub answer: Duration,
    /// How long a poll waits for messages: whole seconds, at most 20. A receiver that closes waits for its last poll.
    pub wait: Duration,
    /// How much longer than [`Timing::wait`] a poll may take before it is given up.
    pub poll_slack: Duration,
    /// To load credentials; counted on top of the other limits.
    pub credentials: Duration,
    /// How long a message stays invisible to others after it was taken or renewed: whole seconds, 2 s to 12 h. It is
    /// renewed at half of it.
    pub lease: Duration,
    /// How long acknowledgements and releases are collected before they go out together.
    pub linger: Duration,
    /// For a receiver to hand back what it holds, after its last poll.
    pub close: Duration,
    /// The pause after a first failure; it doubles with every further one.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How often one request is tried where AWS asks to come back later.
    pub tries: u32,
    /// How long a lasting fault (a queue that is gone, access refused) may last before `receive` reports it.
    pub grace: Duration,
    /// How long the tag of a process that consumes a queue alone speaks for it after the process was killed: the next one
    /// waits for so long. It is written anew at a third of it.
    pub tag: Duration,
    /// How long a message goes round in the queue for delays that are longer than SQS keeps: whole seconds, 1 s to 900 s.
    /// All programs that use the queue must agree. Shorter than 900 s is for tests.
    pub lap: Duration,
    /// The pause after queues were created: AWS says that a queue can be used a second later.
    pub after_create: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(5),
            wait: Duration::from_secs(20),
            poll_slack: Duration::from_secs(5),
            credentials: Duration::from_secs(5),
            lease: Duration::from_secs(30),
            linger: Duration::from_millis(20),
            close: Duration::from_secs(5),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            tries: 4,
            grace: Duration::from_secs(15),
            tag: Duration::from_secs(24),
            lap: LAP,
            after_create: Duration::from_secs(1),
        }
    }
}

/// Whole seconds, rounded up, as SQS counts delays and visibility.
pub(crate) fn seconds_up(duration: Duration) -> i32 {
    let rest = u64::from(duration.subsec_nanos() > 0);
    i32::try_from(duration.as_secs().saturating_add(rest)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_duration_is_not_whole_seconds_it_is_rounded_up() {
        assert_eq!(seconds_up(Duration::ZERO), 0);
        assert_eq!(seconds_up(Duration::from_nanos(1)), 1);
        assert_eq!(seconds_up(Duration::from_secs(900)), 900);
        assert_eq!(seconds_up(Duration::from_micros(1_000_001)), 2);
        assert_eq!(seconds_up(Duration::MAX), i32::MAX);
    }
}
