//! How long a compensation waits, and how often it tries.

use std::time::Duration;

/// How long a compensation waits for answers, and how often it tries an undo.
///
/// ```
/// use std::time::Duration;
/// use longhaul_sagas::CompensationPolicy;
///
/// let policy = CompensationPolicy { undo_attempts: 3, ..CompensationPolicy::default() };
/// assert_eq!(policy.backoff(1), Duration::from_secs(10));
/// assert_eq!(policy.backoff(2), Duration::from_secs(20));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompensationPolicy {
    /// How long to wait for the answer to a step that is pending, from when the compensation begins (or the step is sent,
    /// if that is later). Afterwards earlier steps are undone without waiting any longer, and the step stays pending.
    pub answer_within: Duration,
    /// How long to wait for the answer to an undo, each time it is sent.
    pub undo_within: Duration,
    /// How often an undo is sent before it has failed for good; at least once.
    pub undo_attempts: u32,
    /// How long after a refusal an undo is sent again; doubled for each further one.
    pub first_backoff: Duration,
    /// The longest time between two attempts.
    pub longest_backoff: Duration,
}

impl Default for CompensationPolicy {
    /// An hour for answers, ten minutes for answers to undos, 5 attempts, 10 s between them doubling to an hour.
    fn default() -> Self {
        Self {
            answer_within: Duration::from_secs(3600),
            undo_within: Duration::from_secs(600),
            undo_attempts: 5,
            first_backoff: Duration::from_secs(10),
            longest_backoff: Duration::from_secs(3600),
        }
    }
}

impl CompensationPolicy {
    /// How long to wait after `attempts` refused attempts.
    #[must_use]
    pub fn backoff(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        self.first_backoff
            .saturating_mul(1 << doublings)
            .min(self.longest_backoff)
    }
}
