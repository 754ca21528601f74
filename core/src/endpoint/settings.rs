//! How an endpoint behaves, with defaults that suit most.

use std::time::Duration;

use crate::clock::Clock;
use crate::limits::Limits;
use crate::recoverability::{BreakerPolicy, RetryPolicy, Rules};
use crate::transport::Declare;

/// Everything about an endpoint that can be set and is not code.
///
/// Times are those of the endpoint's clock, but for the ones that are about the world outside, and say so: a clock that
/// runs a thousand times as fast does not make a broker faster ([`Clock::of_real`]).
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most messages handled at once.
    pub concurrency: usize,
    /// The most messages taken from the broker and not yet settled.
    pub prefetch: u16,
    /// How failures are retried that no rule is for.
    pub retries: RetryPolicy,
    /// What becomes of failures of certain messages and errors.
    pub rules: Rules,
    /// When the endpoint's circuit breakers open: its own, and those of destinations without a policy of their own.
    /// `None`: never.
    pub breaker: Option<BreakerPolicy>,
    /// How long message ids and finished things are remembered.
    pub retention: Duration,
    /// How often a message is put off that nothing takes yet: first after a second, then after twice as long each time.
    pub not_yet_rounds: u32,
    /// A timeout that is overdue by more than this, in real time, fires without the broker.
    pub grace: Duration,
    /// The longest that one attempt of a handler may take, in real time.
    pub handler_limit: Duration,
    /// The longest that one call of the store or the transport may take, in real time.
    pub call_limit: Duration,
    /// How long a stop waits for messages being handled, in real time.
    pub stop_limit: Duration,
    /// With more committed messages than this not yet at the broker, none are taken in.
    pub backlog: usize,
    /// From this many redeliveries on, a message is suspected of ending the process: it is marked, and runs alone.
    pub suspicious_redeliveries: u32,
    /// What is done about queues at the start.
    pub declare: Declare,
    /// Limits on messages.
    pub limits: Limits,
    /// How often a store that several processes share is asked for due work, in real time.
    pub poll_interval: Duration,
    /// How often what is no longer needed is removed from the store, in real time.
    pub purge_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 256,
            prefetch: 512,
            retries: RetryPolicy::machine(),
            rules: Rules::new(),
            breaker: Some(BreakerPolicy::default()),
            retention: Duration::from_secs(7 * 24 * 3600),
            not_yet_rounds: 5,
            grace: Duration::from_secs(5),
            handler_limit: Duration::from_secs(300),
            call_limit: Duration::from_secs(30),
            stop_limit: Duration::from_secs(30),
            backlog: 10_000,
            suspicious_redeliveries: 3,
            declare: Declare::Declare,
            limits: Limits::default(),
            poll_interval: Duration::from_secs(1),
            purge_interval: Duration::from_secs(600),
        }
    }
}

/// So often the process may end while it handles a message alone before the message is blamed: something else may have
/// ended it.
pub(crate) const ENDS: u32 = 3;
/// The most rows that the relay claims at once.
pub(crate) const CLAIM: usize = 256;
/// After so many messages in a row an overdue timeout that waits is handled before the next one.
pub(crate) const FAIR: usize = 256;
/// The most marks that one commit carries.
pub(crate) const MARKS: usize = 512;
/// Timeouts fire so long after their instant at the earliest: messages of the same instant come first.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// How often a lost race is run again before the message is given back.
pub(crate) const CONFLICTS: u32 = 20;
/// How long a message is given back for when its outcome can't be written down.
pub(crate) const RELEASE: Duration = Duration::from_secs(1);
/// How far ahead anything may be due.
pub(crate) const FARTHEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// How long the endpoint's own parts wait for each other, in the time of its clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    /// How long a row is left to the sender that committed it before the relay sends it.
    pub(crate) young: Duration,
    /// How long a claim of the relay lasts.
    pub(crate) lease: Duration,
    /// The longest that a mark waits for a commit to ride along with.
    pub(crate) mark_delay: Duration,
    /// How long to wait before what failed outside is tried again.
    pub(crate) again: Duration,
    /// The longest that a message waits in memory for a destination or a limit.
    pub(crate) hold: Duration,
    /// How long a message is put off at first that waits no longer.
    pub(crate) defer: Duration,
    /// The longest that it is put off at once.
    pub(crate) longest_defer: Duration,
}

impl Waits {
    /// The defaults, which are in real time.
    pub(crate) fn on(clock: &dyn Clock) -> Self {
        Self {
            young: on(clock, Duration::from_secs(5)),
            lease: on(clock, Duration::from_secs(30)),
            mark_delay: on(clock, Duration::from_millis(50)),
            again: on(clock, RELEASE),
            // Well below the half hour after which RabbitMQ takes messages back.
            hold: on(clock, Duration::from_secs(300)),
            defer: on(clock, Duration::from_secs(10)),
            longest_defer: on(clock, Duration::from_secs(60)),
        }
    }
}

/// So much real time, on this clock.
pub(crate) fn on(clock: &dyn Clock, real: Duration) -> Duration {
    clock.of_real(real).min(FARTHEST)
}

impl Settings {
    /// The same in the time of `clock`: what is about calls of the broker and the store is in real time, and a clock that
    /// runs faster would cut them short.
    pub(crate) fn on(mut self, clock: &dyn Clock) -> Self {
        for limit in [
            &mut self.grace,
            &mut self.handler_limit,
            &mut self.call_limit,
            &mut self.stop_limit,
            &mut self.poll_interval,
            &mut self.purge_interval,
        ] {
            *limit = on(clock, *limit);
        }
        self
    }

    /// What can't work, each with the line that mends it.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = self.rules.faults();
        let horizon = self.retries.horizon().max(self.rules.horizon());
        if self.retention < horizon {
            faults.push(format!(
                "message ids are remembered for {:?}, but a message may still be retried after {horizon:?}, and would then be \
                 handled twice: set `.retention(…)` to at least that, or shorten the retries",
                self.retention
            ));
        }
        for (name, value) in [
            ("concurrency", self.concurrency),
            ("prefetch", usize::from(self.prefetch)),
        ] {
            if value == 0 {
                faults.push(format!(
                    "the {name} is 0, so nothing would ever be handled: set `.{name}(1)` or more"
                ));
            }
        }
        faults
    }
}
