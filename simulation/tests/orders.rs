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

#[test]
fn when_a_seed_runs_again_the_same_happens() {
    for seed in (0..4_000).step_by(100) {
        let (name, system) = systems::of_seed(seed);
        let (first, again) = (system.fingerprint(seed), system.fingerprint(seed));
        assert_eq!(first, again, "{name}, seed {seed}");
    }
}
