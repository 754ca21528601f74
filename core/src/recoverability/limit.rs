//! Limits on a handler, as plain data and a pure state machine: how many at once, and how many in a while.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::recoverability::Permission;

/// How much of one message type is handled: at once, and in a while.
///
/// ```
/// use longhaul_core::recoverability::Limit;
/// use std::time::Duration;
///
/// // What the bank allows: 4 at once, and 100 a second.
/// let bank = Limit::none().at_once(4).rate(100, Duration::from_secs(1));
/// assert_eq!(bank.at_once, Some(4));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The most messages handled at once; `None`: as many as the endpoint handles.
    pub at_once: Option<u32>,
    /// The most attempts in a while; `None`: as many as come.
    pub rate: Option<Rate>,
}

/// The most attempts that may begin within any stretch of time of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// So many, up to [`Limit::MOST`].
    pub most: u32,
    /// Within so many milliseconds of real time, up to [`Limit::LONGEST`].
    pub millis: u64,
}

impl Limit {
    /// The most that a limit may be.
    pub const MOST: u32 = 100_000;
    /// The longest stretch of time of a rate.
    pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

    /// No limits.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            at_once: None,
            rate: None,
        }
    }

    /// At most so many at once.
    #[must_use]
    pub const fn at_once(mut self, most: u32) -> Self {
        self.at_once = Some(most);
        self
    }

    /// At most so many attempts within any `per`, in whole milliseconds.
    #[must_use]
    pub fn rate(mut self, most: u32, per: Duration) -> Self {
        let millis = u64::try_from(per.as_millis()).unwrap_or(u64::MAX);
        self.rate = Some(Rate { most, millis });
        self
    }

    /// What is wrong with it.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let is_bad = |most: u32| most == 0 || most > Self::MOST;
        if self.at_once.is_some_and(is_bad) || self.rate.is_some_and(|rate| is_bad(rate.most)) {
            return Some("a limit is from 1 to 100,000");
        }
        let is_long = |rate: Rate| rate.millis == 0 || rate.per() > Self::LONGEST;
        self.rate
            .is_some_and(is_long)
            .then_some("a rate is per 1 ms to per 24 hours")
    }
}

impl Rate {
    const fn per(self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

/// Keeps a [`Limit`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Limiter {
    limit: Limit,
    /// The stretch of the rate in the time of the endpoint's clock.
    per: Duration,
    under_way: u32,
    /// When the last attempts began, as many as the rate allows.
    begun: VecDeque<Timestamp>,
}

impl Limiter {
    /// Changes the limit; `on_clock` turns real time into that of the endpoint's clock.
    pub(crate) fn set(&mut self, limit: Limit, on_clock: impl Fn(Duration) -> Duration) {
        self.limit = limit;
        self.per = limit.rate.map_or(Duration::ZERO, |rate| on_clock(rate.per()));
        let most = limit.rate.map_or(0, |rate| rate.most as usize);
        while self.begun.len() > most {
            self.begun.pop_front();
        }
    }

    pub(crate) const fn limit(&self) -> Limit {
        self.limit
    }

    pub(crate) fn ask(&self, now: Timestamp) -> Permission {
        if self.limit.at_once.is_some_and(|most| self.under_way >= most) {
            return Permission::Later;
        }
        let Some(rate) = self.limit.rate else {
            return Permission::Now;
        };
        match self.begun.front() {
            // A clock that was set back says nothing about how long ago that was.
            Some(first) if self.begun.len() >= rate.most as usize && *first <= now => {
                let next = *first + self.per;
                if next <= now {
                    Permission::Now
                } else {
                    Permission::At(next)
                }
            }
            _ => Permission::Now,
        }
    }

    pub(crate) fn enter(&mut self, now: Timestamp) {
        self.under_way += 1;
        let Some(rate) = self.limit.rate else { return };
        while self.begun.len() >= rate.most as usize {
            self.begun.pop_front();
        }
        self.begun.push_back(now);
    }

    pub(crate) const fn leave(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limiter(limit: Limit) -> Limiter {
        let mut limiter = Limiter::default();
        limiter.set(limit, |real| real);
        limiter
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn when_as_many_are_under_way_as_may_be_the_next_waits_for_one_to_end() {
        let mut limiter = limiter(Limit::none().at_once(2));
        limiter.enter(at(0));
        limiter.enter(at(0));
        assert_eq!(limiter.ask(at(0)), Permission::Later);
        limiter.leave();
        assert_eq!(limiter.ask(at(0)), Permission::Now);
    }

    #[test]
    fn when_the_clock_is_set_back_a_limit_does_not_last_longer() {
        let mut limiter = limiter(Limit::none().rate(1, Duration::from_secs(1)));
        limiter.enter(at(10_000));
        assert_eq!(limiter.ask(at(10_500)), Permission::At(at(11_000)));
        // How long ago the last one began, nobody knows now.
        assert_eq!(limiter.ask(at(3_000)), Permission::Now);
        limiter.enter(at(3_000));
        assert_eq!(limiter.ask(at(3_500)), Permission::At(at(4_000)));
        assert_eq!(limiter.ask(at(4_000)), Permission::Now);
    }

    #[test]
    fn when_a_limit_is_lowered_those_under_way_still_count() {
        let mut limiter = limiter(Limit::none());
        for _ in 0..3 {
            limiter.enter(at(0));
        }
        limiter.set(Limit::none().at_once(1), |real| real);
        limiter.leave();
        limiter.leave();
        assert_eq!(limiter.ask(at(0)), Permission::Later);
        limiter.leave();
        assert_eq!(limiter.ask(at(0)), Permission::Now);
    }

    #[test]
    fn when_a_limit_makes_no_sense_it_is_a_fault() {
        let second = Duration::from_secs(1);
        assert!(Limit::none().at_once(0).fault().is_some());
        assert!(Limit::none().rate(0, second).fault().is_some());
        assert!(Limit::none().rate(100_001, second).fault().is_some());
        assert!(Limit::none().rate(1, Duration::ZERO).fault().is_some());
        assert!(Limit::none().rate(1, Duration::MAX).fault().is_some());
        assert_eq!(Limit::none().at_once(1).rate(1, second).fault(), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_no_stretch_of_time_has_more_than_its_rate(
            most in 1..8u32,
            gaps in prop::collection::vec(0..300u64, 1..200),
        ) {
            let mut limiter = limiter(Limit::none().rate(most, Duration::from_secs(1)));
            let (mut now, mut begun) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                match limiter.ask(at(now)) {
                    Permission::Now => {
                        limiter.enter(at(now));
                        limiter.leave();
                        begun.push(now);
                    }
                    Permission::At(next) => prop_assert!(next > at(now)),
                    Permission::Later => prop_assert!(false, "nothing is under way"),
                }
            }
            for stretch in begun.windows(most as usize + 1) {
                prop_assert!(stretch[most as usize] - stretch[0] >= 1000);
            }
        }
    }
}
