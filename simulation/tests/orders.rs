//! The order system under everything that can go wrong.

use longhaul_simulation::{Faults, systems};

#[test]
fn when_nothing_goes_wrong_all_is_as_it_should_be() {
    systems::orders(8).faults(Faults::none()).check(2);
}

#[test]
fn when_everything_goes_wrong_all_is_as_it_should_be() {
    systems::orders(6).check(2000);
}

#[test]
fn when_processes_compete_all_is_as_it_should_be() {
    systems::contended_orders(6).check(500);
}

/// All of these are among the seeds that every run looks at twice.
#[test]
fn when_a_seed_runs_again_the_same_happens() {
    for seed in (0..4_000).step_by(100) {
        let (name, system) = systems::of_seed(seed);
        let (first, again) = (system.fingerprint(seed), system.fingerprint(seed));
        assert_eq!(first, again, "{name}, seed {seed}");
    }
}

/// A message that runs alone fails while the broker takes nothing: its mark is taken back, and what was known of it is there
/// again, which is no attempt that was forgotten.
#[test]
fn when_a_mark_is_taken_back_while_the_broker_is_blocked_no_attempt_is_forgotten() {
    systems::contended_orders(7).replay(
        "rabbit seed:789284 requests:5,6 world#0=at:4540654:block:60000000 world#1=at:39898182:block:114838686 \
         turn#32=pick:3 turn#33=pick:1",
    );
}
