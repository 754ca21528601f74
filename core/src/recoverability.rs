//! What happens after a failure: a pure function from the failure and the policy to a decision.
//!
//! [`RetryPolicy`] says how often and when; [`Rules`] say which policy counts for which message and which error.
//! A [`Breaker`] and a [`Limit`] say when a message waits instead, at no cost to it.

mod breaker;
mod limit;
mod rules;

use std::time::Duration;

pub use breaker::{Breaker, BreakerPolicy, BreakerState, Entry, Outcome, Permission};
pub(crate) use limit::Limiter;
pub use limit::{Limit, Rate};
pub use rules::{Rule, Rules};

use crate::handler::ErrorClass;

/// How failures are retried. See [`RetryPolicy::machine`] for the default.
///
/// ```
/// use longhaul_core::recoverability::{RetryPolicy, Decision, Failure};
/// use longhaul_core::handler::ErrorClass;
/// use std::time::Duration;
///
/// let failure = Failure { immediate: 1, ..Failure::of(ErrorClass::Transient) };
/// assert_eq!(RetryPolicy::machine().decide(&failure, 0), Decision::RetryNow);
/// assert_eq!(RetryPolicy::none().decide(&failure, 0), Decision::ErrorQueue);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Immediate retries in each round.
    pub immediate: u32,
    /// The most delayed rounds.
    pub delayed: u32,
    /// The longest delay before the first delayed round; doubled for each further one.
    pub first_delay: Duration,
    /// The longest delay of all.
    pub longest_delay: Duration,
    /// No further delayed round is begun this long after the first failure.
    pub give_up_after: Duration,
    /// Whether a delay is drawn between zero and its bound ("full jitter", Brooker 2015) or is the bound.
    pub jitter: bool,
}

impl RetryPolicy {
    /// For senders that can wait: 5 immediate retries, then delayed ones from 10 s, doubling to 1 h, with full jitter, for 24 h.
    #[must_use]
    pub const fn machine() -> Self {
        Self {
            immediate: 5,
            delayed: u32::MAX,
            first_delay: Duration::from_secs(10),
            longest_delay: Duration::from_secs(3600),
            give_up_after: Duration::from_secs(24 * 3600),
            jitter: true,
        }
    }

    /// For people who wait at a screen: one quick retry, then the error queue.
    #[must_use]
    pub const fn people() -> Self {
        Self {
            immediate: 1,
            delayed: 0,
            ..Self::machine()
        }
    }

    /// No retries.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            immediate: 0,
            delayed: 0,
            ..Self::machine()
        }
    }

    /// What to do after a failure; `random` is any 64 random bits.
    #[must_use]
    pub fn decide(&self, failure: &Failure, random: u64) -> Decision {
        if matches!(failure.class, ErrorClass::Permanent | ErrorClass::Unreadable) {
            return Decision::ErrorQueue;
        }
        if failure.immediate <= self.immediate {
            return Decision::RetryNow;
        }
        if failure.delayed >= self.delayed || failure.age >= self.give_up_after {
            return Decision::ErrorQueue;
        }
        let factor = 1u32.checked_shl(failure.delayed).unwrap_or(u32::MAX);
        let bound = self.first_delay.saturating_mul(factor).min(self.longest_delay);
        Decision::RetryAfter(if self.jitter {
            fraction(bound, random)
        } else {
            bound
        })
    }

    /// How long after its first failure a message can still be retried.
    #[must_use]
    pub fn horizon(&self) -> Duration {
        if self.delayed == 0 {
            return Duration::ZERO;
        }
        let by_count = self.longest_delay.saturating_mul(self.delayed);
        self.give_up_after
            .saturating_add(self.longest_delay)
            .min(by_count)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::machine()
    }
}

/// `bound` times `random` / 2^64.
pub(crate) fn fraction(bound: Duration, random: u64) -> Duration {
    let nanos = bound.as_nanos().min(u128::from(u64::MAX));
    let drawn = (nanos * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(drawn).unwrap_or(u64::MAX))
}

/// A failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What the error means.
    pub class: ErrorClass,
    /// Failed attempts in this round, this one included.
    pub immediate: u32,
    /// Delayed rounds behind it.
    pub delayed: u32,
    /// How long ago it failed first.
    pub age: Duration,
    /// How long ago the message was due or sent, whichever is later; zero where it does not say.
    pub message_age: Duration,
}

impl Failure {
    /// A failure of this class, with nothing behind it.
    #[must_use]
    pub const fn of(class: ErrorClass) -> Self {
        Self {
            class,
            immediate: 0,
            delayed: 0,
            age: Duration::ZERO,
            message_age: Duration::ZERO,
        }
    }
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Again, at once.
    RetryNow,
    /// Again, after a while.
    RetryAfter(Duration),
    /// Set aside for people.
    ErrorQueue,
    /// Forgotten, because a [`Rule`] says so in as many words.
    Discard,
}

#[cfg(test)]
mod tests;
