//! A circuit breaker as a pure state machine: time comes in as an argument, and nothing is waited for.
//!
//! After Nygard, "Release It!" (2007), chapter 5; the half-open state lets one message at a time through.

use std::time::Duration;

use crate::clock::Timestamp;

/// When a breaker opens, and how often it probes while it is open.
///
/// Times are in real time: what is probed is the world outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// It opens after so many failures in a row.
    pub failures: u32,
    /// So long after it opened, and after each probe that failed, it lets one message through.
    pub probe_delay: Duration,
}

impl Default for BreakerPolicy {
    /// Five failures, and a probe every five seconds.
    fn default() -> Self {
        Self {
            failures: 5,
            probe_delay: Duration::from_secs(5),
        }
    }
}

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BreakerState {
    /// It lets everything through.
    #[default]
    Closed,
    /// It lets nothing through before this time.
    Open {
        /// When the next message may probe.
        until: Timestamp,
    },
    /// It has let one message through, and waits for what becomes of it.
    Probing,
}

/// What became of something that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What is behind the breaker works.
    Succeeded,
    /// It failed.
    Failed {
        /// Whether that is news: the failure of a message that is known to fail counts for a probe only.
        is_news: bool,
    },
    /// That says nothing about what is behind the breaker.
    Unrelated,
}

/// Whether something may be let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Now.
    Now,
    /// Not before this time.
    At(Timestamp),
    /// When something else has ended.
    Later,
}

/// What was let through, and by which life of the breaker: what ends after the breaker has opened or closed says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a probe that never ends keeps the breaker open"]
pub struct Entry {
    life: u64,
}

/// A circuit breaker.
///
/// ```
/// use longhaul_core::clock::Timestamp;
/// use longhaul_core::recoverability::{Breaker, BreakerPolicy, BreakerState, Outcome, Permission};
///
/// let mut breaker = Breaker::new(BreakerPolicy::default());
/// let mut now = Timestamp::UNIX_EPOCH;
/// for _ in 0..5 {
///     let entry = breaker.enter();
///     breaker.leave(entry, Outcome::Failed { is_news: true }, now);
/// }
/// assert_eq!(breaker.ask(now), Permission::At(now + BreakerPolicy::default().probe_delay));
/// now = now + BreakerPolicy::default().probe_delay;
/// let probe = breaker.enter();
/// assert_eq!(breaker.ask(now), Permission::Later);
/// breaker.leave(probe, Outcome::Succeeded, now);
/// assert_eq!(breaker.state(), BreakerState::Closed);
/// ```
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: BreakerState,
    in_a_row: u32,
    life: u64,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub const fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            state: BreakerState::Closed,
            in_a_row: 0,
            life: 0,
        }
    }

    /// What it does.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether something may be let through.
    #[must_use]
    pub fn ask(&self, now: Timestamp) -> Permission {
        match self.state {
            BreakerState::Closed => Permission::Now,
            BreakerState::Probing => Permission::Later,
            // A clock that was set back must not keep it open for longer than its delay.
            BreakerState::Open { until } if until <= now || until.since(now) > self.policy.probe_delay => {
                Permission::Now
            }
            BreakerState::Open { until } => Permission::At(until),
        }
    }

    /// Lets something through; only after [`Breaker::ask`] said so.
    pub const fn enter(&mut self) -> Entry {
        if matches!(self.state, BreakerState::Open { .. }) {
            self.change(BreakerState::Probing);
        }
        Entry { life: self.life }
    }

    /// Whether an entry still counts: the breaker has neither opened nor closed since.
    #[must_use]
    pub const fn counts(&self, entry: Entry) -> bool {
        self.life == entry.life
    }

    /// Whether what has this entry may do the same again without asking.
    #[must_use]
    pub const fn is_current(&self, entry: Entry) -> bool {
        self.life == entry.life && matches!(self.state, BreakerState::Closed)
    }

    /// Something that was let through has ended. Returns whether the breaker opened or closed by that.
    pub fn leave(&mut self, entry: Entry, outcome: Outcome, now: Timestamp) -> bool {
        if entry.life != self.life {
            return false;
        }
        let opened = BreakerState::Open {
            until: now + self.policy.probe_delay,
        };
        match (self.state, outcome) {
            (BreakerState::Closed, Outcome::Succeeded) => {
                self.in_a_row = 0;
                false
            }
            (BreakerState::Closed, Outcome::Failed { is_news: true }) => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                let opens = self.in_a_row >= self.policy.failures.max(1);
                if opens {
                    self.change(opened);
                }
                opens
            }
            (BreakerState::Probing, Outcome::Succeeded) => {
                self.in_a_row = 0;
                self.change(BreakerState::Closed);
                true
            }
            (BreakerState::Probing, Outcome::Failed { .. }) => {
                self.change(opened);
                false
            }
            (BreakerState::Probing, Outcome::Unrelated) => {
                self.change(BreakerState::Open { until: now });
                false
            }
            (BreakerState::Closed | BreakerState::Open { .. }, _) => false,
        }
    }

    const fn change(&mut self, state: BreakerState) {
        self.state = state;
        self.life += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEWS: Outcome = Outcome::Failed { is_news: true };
    const STALE: Outcome = Outcome::Failed { is_news: false };
    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn breaker(outcomes: &[Outcome]) -> Breaker {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        for outcome in outcomes {
            let entry = breaker.enter();
            breaker.leave(entry, *outcome, START);
        }
        breaker
    }

    fn seconds(n: u64) -> Timestamp {
        START + Duration::from_secs(n)
    }

    #[test]
    fn when_five_fail_in_a_row_it_opens_and_not_before() {
        let open = BreakerState::Open { until: seconds(5) };
        assert_eq!(breaker(&[NEWS; 4]).state(), BreakerState::Closed);
        assert_eq!(breaker(&[NEWS; 5]).state(), open);
        let broken = [NEWS, NEWS, NEWS, NEWS, Outcome::Succeeded, NEWS];
        assert_eq!(breaker(&broken).state(), BreakerState::Closed);
        let mixed = [NEWS, NEWS, STALE, NEWS, Outcome::Unrelated, NEWS, NEWS];
        assert_eq!(breaker(&mixed).state(), open);
    }

    #[test]
    fn when_one_message_fails_again_and_again_it_stays_closed() {
        assert_eq!(breaker(&[STALE; 100]).state(), BreakerState::Closed);
    }

    #[test]
    fn when_a_probe_fails_the_next_waits_for_the_delay_and_when_it_succeeds_all_go() {
        let mut breaker = breaker(&[NEWS; 5]);
        assert_eq!(breaker.ask(seconds(4)), Permission::At(seconds(5)));
        assert_eq!(breaker.ask(seconds(5)), Permission::Now);
        let probe = breaker.enter();
        assert_eq!(breaker.ask(seconds(5)), Permission::Later);
        assert!(!breaker.leave(probe, STALE, seconds(6)));
        assert_eq!(breaker.ask(seconds(6)), Permission::At(seconds(11)));
        let probe = breaker.enter();
        assert!(breaker.leave(probe, Outcome::Succeeded, seconds(12)));
        assert_eq!(breaker.ask(seconds(12)), Permission::Now);
    }

    #[test]
    fn when_a_probe_says_nothing_another_may_go_at_once() {
        let mut breaker = breaker(&[NEWS; 5]);
        let probe = breaker.enter();
        assert!(!breaker.leave(probe, Outcome::Unrelated, seconds(5)));
        assert_eq!(breaker.ask(seconds(5)), Permission::Now);
    }

    #[test]
    fn when_something_ends_that_began_before_it_opened_that_changes_nothing() {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        let entries: Vec<Entry> = (0..8).map(|_| breaker.enter()).collect();
        for entry in &entries[..5] {
            breaker.leave(*entry, NEWS, START);
        }
        assert!(!breaker.is_current(entries[5]));
        for (entry, outcome) in entries[5..]
            .iter()
            .zip([Outcome::Succeeded, NEWS, Outcome::Unrelated])
        {
            assert!(!breaker.leave(*entry, outcome, seconds(1)));
            assert_eq!(breaker.state(), BreakerState::Open { until: seconds(5) });
        }
    }

    #[test]
    fn when_the_clock_is_set_back_it_is_not_open_for_longer() {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        for _ in 0..5 {
            let entry = breaker.enter();
            breaker.leave(entry, NEWS, seconds(3600));
        }
        assert_eq!(breaker.ask(START), Permission::Now);
    }

    proptest! {
        #[test]
        fn whatever_happens_probes_are_alone_and_no_closer_than_their_delay(
            steps in prop::collection::vec((0..20u64, 0..4u8), 1..200),
        ) {
            let mut breaker = Breaker::new(BreakerPolicy::default());
            let (mut now, mut inside, mut failed_at) = (START, Vec::new(), None);
            for (passed, step) in steps {
                now = now + Duration::from_secs(passed);
                let was_open = breaker.state() != BreakerState::Closed;
                if step == 0 || inside.is_empty() {
                    match breaker.ask(now) {
                        Permission::Now => {
                            if let Some(at) = failed_at.filter(|_| was_open) {
                                prop_assert!(now.since(at) >= Duration::from_secs(5));
                            }
                            inside.push(breaker.enter());
                        }
                        Permission::At(at) => prop_assert!(at > now && at.since(now) <= Duration::from_secs(5)),
                        Permission::Later => prop_assert_eq!(breaker.state(), BreakerState::Probing),
                    }
                    continue;
                }
                let entry = inside.remove(0);
                let outcome = if step == 1 { Outcome::Succeeded } else { NEWS };
                let is_probe = breaker.state() == BreakerState::Probing && entry.life == breaker.life;
                breaker.leave(entry, outcome, now);
                if is_probe {
                    failed_at = (outcome == NEWS).then_some(now);
                }
            }
        }
    }
}
