//! Systems on a broker that keeps groups in order and drops copies.

use longhaul_simulation::{Personality, systems};

#[test]
fn when_copies_are_dropped_within_five_minutes_nothing_is_lost() {
    for seed in 0..1_000 {
        let (name, system) = systems::of_seed_in_order(seed);
        let broken = system.breaks(seed);
        assert_eq!(broken, None, "{name}, seed {seed}");
    }
}

#[test]
fn when_what_failed_is_replayed_again_and_again_every_replay_arrives() {
    systems::outages(6).on(Personality::SqsFifo).check(300);
}

/// What is printed of a failing schedule names the broker.
#[test]
fn when_a_schedule_names_the_broker_it_runs_on_it() {
    systems::orders(2).replay("sqs-fifo seed:1 send#0=unknown:1 arrival#1=twice:7");
}

/// A message was set aside, and a crash kept that from being written down: it comes again, and waits behind another one. When all
/// are replayed, the copy that was set aside first is a duplicate of the one that waits.
#[test]
fn when_a_crash_forgets_that_a_message_was_set_aside_its_replay_is_a_duplicate_of_the_one_that_waits() {
    systems::outages(6).replay("sqs-fifo requests:1,2,3 TakeTurn/Before#1=crash:1");
}
