//! The policy as a table, and what holds of every policy and every failure.

use std::io;
use std::time::Duration;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::handler::HandlerError;
use crate::reason::Reason;

#[derive(Debug, crate::Event, Serialize, Deserialize)]
#[message("rates.rate_changed.v1")]
struct RateChanged;

const CLASSES: [ErrorClass; 5] = [
    ErrorClass::Transient,
    ErrorClass::Expected,
    ErrorClass::Unexpected,
    ErrorClass::Permanent,
    ErrorClass::Unreadable,
];

const STEADY: RetryPolicy = RetryPolicy {
    jitter: false,
    ..RetryPolicy::machine()
};

fn failure(class: ErrorClass, immediate: u32, delayed: u32, hours: u64) -> Failure {
    Failure {
        immediate,
        delayed,
        age: Duration::from_secs(hours * 3600),
        ..Failure::of(class)
    }
}

const fn after(seconds: u64) -> Decision {
    Decision::RetryAfter(Duration::from_secs(seconds))
}

#[test]
fn when_a_policy_is_asked_it_answers_by_this_table() {
    use Decision::{ErrorQueue, RetryNow};
    use ErrorClass::{Expected, Permanent, Transient, Unexpected, Unreadable};
    let (people, none) = (RetryPolicy::people(), RetryPolicy::none());
    let table = [
        // policy, class, failed in this round, rounds behind it, hours since the first failure, decision
        (STEADY, Transient, 1, 0, 0, RetryNow),
        (STEADY, Expected, 5, 0, 0, RetryNow),
        (STEADY, Unexpected, 6, 0, 0, after(10)),
        (STEADY, Unexpected, 1, 1, 0, RetryNow),
        (STEADY, Transient, 6, 1, 0, after(20)),
        (STEADY, Transient, 6, 2, 0, after(40)),
        (STEADY, Transient, 6, 8, 1, after(2560)),
        (STEADY, Transient, 6, 9, 1, after(3600)),
        (STEADY, Transient, 6, 40, 23, after(3600)),
        (STEADY, Transient, 6, u32::MAX - 1, 23, after(3600)),
        (STEADY, Transient, 6, u32::MAX, 0, ErrorQueue),
        (STEADY, Transient, 6, 3, 24, ErrorQueue),
        (STEADY, Transient, 1, 3, 24, RetryNow),
        (STEADY, Permanent, 1, 0, 0, ErrorQueue),
        (STEADY, Unreadable, 1, 0, 0, ErrorQueue),
        (people, Transient, 1, 0, 0, RetryNow),
        (people, Transient, 2, 0, 0, ErrorQueue),
        (people, Permanent, 1, 0, 0, ErrorQueue),
        (none, Transient, 1, 0, 0, ErrorQueue),
    ];
    for (policy, class, immediate, delayed, hours, decision) in table {
        let failure = failure(class, immediate, delayed, hours);
        assert_eq!(policy.decide(&failure, 0), decision, "{policy:?} {failure:?}");
    }
}

#[test]
fn when_there_is_jitter_the_delay_lies_between_zero_and_its_bound() {
    let delay = |random| RetryPolicy::machine().decide(&failure(ErrorClass::Transient, 6, 0, 0), random);
    assert_eq!(delay(0), after(0));
    assert_eq!(delay(1 << 63), after(5));
    let Decision::RetryAfter(most) = delay(u64::MAX) else {
        panic!("a delay")
    };
    assert!(most <= Duration::from_secs(10));
}

#[test]
fn when_rules_are_asked_the_first_that_fits_counts_by_this_table() {
    let mut rules = Rules::new();
    rules.add(Rule::error_queue().error::<std::num::ParseIntError>());
    rules.add(
        Rule::discard()
            .message::<RateChanged>()
            .older_than(Duration::from_secs(60)),
    );
    rules.add(Rule::retry(RetryPolicy::people()).message::<RateChanged>());
    rules.add(Rule::retry(STEADY).class(ErrorClass::Expected).or_else_discard());
    rules.add(Rule::discard().reason(Reason::BadBody));
    let (rate, other) = ("rates.rate_changed.v1", "sales.order_placed.v1");
    let plain = |class: ErrorClass| HandlerError::unexpected("it failed").with_class(class);
    let number = || HandlerError::from("x".parse::<u8>().expect_err("no number"));
    let body = || HandlerError::unreadable(Reason::BadBody, "it is no JSON");
    let depth = || HandlerError::unreadable(Reason::TooDeep, "it is too deep");
    let (few, enough) = (1, 6);
    let table = [
        // message, its age in seconds, error, failed in this round, decision
        (other, 0, plain(ErrorClass::Unexpected), few, Decision::RetryNow),
        (other, 0, number(), few, Decision::ErrorQueue),
        (rate, 999, number(), few, Decision::ErrorQueue),
        (rate, 61, plain(ErrorClass::Transient), few, Decision::Discard),
        (rate, 60, plain(ErrorClass::Transient), few, Decision::RetryNow),
        (rate, 60, plain(ErrorClass::Transient), 2, Decision::ErrorQueue),
        (other, 0, plain(ErrorClass::Expected), enough, after(10)),
        (other, 0, plain(ErrorClass::Unexpected), enough, after(0)),
        (other, 0, plain(ErrorClass::Permanent), few, Decision::ErrorQueue),
        (rate, 61, depth(), few, Decision::ErrorQueue),
        (rate, 61, body(), few, Decision::ErrorQueue),
        (other, 0, body(), few, Decision::Discard),
    ];
    for (message, age, error, immediate, decision) in table {
        let failure = Failure {
            message_age: Duration::from_secs(age),
            ..failure(error.class(), immediate, 0, 0)
        };
        let decided = rules.decide(&RetryPolicy::machine(), message, &error, &failure, 0);
        assert_eq!(decided, decision, "{message} {error:?} {failure:?}");
    }
}

#[test]
fn when_a_retry_rule_may_discard_it_does_so_only_after_its_retries() {
    let mut rules = Rules::new();
    rules.add(Rule::retry(STEADY).class(ErrorClass::Expected).or_else_discard());
    let error = HandlerError::expected("no seats today");
    let decide = |hours| {
        let failure = failure(ErrorClass::Expected, 6, 3, hours);
        rules.decide(&RetryPolicy::machine(), "m", &error, &failure, 0)
    };
    assert_eq!(decide(1), after(80));
    assert_eq!(decide(24), Decision::Discard);
}

#[test]
fn when_a_rule_would_discard_everything_it_is_a_fault() {
    let fault = |rule| {
        let mut rules = Rules::new();
        rules.add(rule);
        !rules.faults().is_empty()
    };
    assert!(fault(Rule::discard()));
    assert!(fault(Rule::discard().older_than(Duration::from_secs(1))));
    assert!(fault(Rule::retry(STEADY).or_else_discard()));
    assert!(!fault(Rule::discard().message::<RateChanged>()));
    assert!(!fault(Rule::error_queue()));
}

#[test]
fn when_an_error_is_classified_its_causes_count_and_a_class_that_was_chosen_stays() {
    let mut rules = Rules::new();
    rules.classify(|error: &io::Error| match error.kind() {
        io::ErrorKind::TimedOut => ErrorClass::Transient,
        _ => ErrorClass::Permanent,
    });
    let class = |error: HandlerError| rules.classified(error).class();
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    assert_eq!(class(timed_out().into()), ErrorClass::Transient);
    let caused = io::Error::other(Outer(timed_out()));
    assert_eq!(class(Outer(timed_out()).into()), ErrorClass::Transient);
    assert_eq!(
        class(caused.into()),
        ErrorClass::Permanent,
        "the outermost counts"
    );
    let chosen = HandlerError::from(timed_out()).with_class(ErrorClass::Expected);
    assert_eq!(class(chosen), ErrorClass::Expected);
    assert_eq!(
        class(HandlerError::unexpected("no error of theirs")),
        ErrorClass::Unexpected
    );
}

#[derive(Debug)]
struct Outer(io::Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("outer")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

prop_compose! {
    fn policies()(
        immediate in 0..10u32,
        delayed in prop_oneof![0..20u32, Just(u32::MAX)],
        first in 0..100u64,
        longest in 0..5000u64,
        give_up in 0..100_000u64,
        jitter: bool,
    ) -> RetryPolicy {
        RetryPolicy {
            immediate,
            delayed,
            first_delay: Duration::from_secs(first),
            longest_delay: Duration::from_secs(longest),
            give_up_after: Duration::from_secs(give_up),
            jitter,
        }
    }
}

proptest! {
    #[test]
    fn whatever_the_policy_a_decision_keeps_to_its_limits(
        policy in policies(),
        class in prop::sample::select(&CLASSES[..]),
        immediate in 1..20u32,
        delayed: u32,
        age in 0..200_000u64,
        random: u64,
    ) {
        let failure = Failure { age: Duration::from_secs(age), ..failure(class, immediate, delayed, 0) };
        let decision = policy.decide(&failure, random);
        prop_assert_eq!(decision, policy.decide(&failure, random));
        prop_assert_ne!(decision, Decision::Discard);
        if matches!(class, ErrorClass::Permanent | ErrorClass::Unreadable) {
            prop_assert_eq!(decision, Decision::ErrorQueue);
        }
        match decision {
            Decision::RetryNow => prop_assert!(immediate <= policy.immediate),
            Decision::RetryAfter(delay) => {
                prop_assert!(delay <= policy.longest_delay);
                prop_assert!(delayed < policy.delayed && failure.age < policy.give_up_after);
            }
            Decision::ErrorQueue | Decision::Discard => {}
        }
    }

    #[test]
    fn whatever_the_policy_a_message_that_always_fails_ends_within_the_horizon(
        policy in policies(),
        random: u64,
    ) {
        let (mut age, mut attempts) = (Duration::ZERO, 0u64);
        let mut rounds = 0;
        let ended = loop {
            for immediate in 1.. {
                attempts += 1;
                let failure = Failure { age, ..failure(ErrorClass::Unexpected, immediate, rounds, 0) };
                match policy.decide(&failure, random.rotate_left(rounds)) {
                    Decision::RetryNow => {}
                    // Handling takes a moment, too.
                    Decision::RetryAfter(delay) => { age += delay.max(Duration::from_secs(60)); break }
                    Decision::ErrorQueue | Decision::Discard => { rounds = u32::MAX; break }
                }
            }
            if rounds == u32::MAX { break true; }
            rounds += 1;
            if rounds > 5000 { break false; }
        };
        prop_assert!(ended);
        prop_assert!(age <= policy.horizon().max(Duration::from_secs(60) * policy.delayed) + Duration::from_secs(60));
        prop_assert!(attempts <= (u64::from(policy.immediate) + 1) * (u64::from(policy.delayed).saturating_add(1)));
    }
}
