//! Random saga programs, under everything that can go wrong: each ends as computed.

use longhaul_simulation::{Faults, systems};

#[test]
fn when_nothing_goes_wrong_every_program_has_its_computed_end() {
    for seed in 0..100 {
        systems::programs(seed, 8, seed.is_multiple_of(4))
            .faults(Faults::none())
            .from_seed(seed)
            .check(2);
    }
}

#[test]
fn when_everything_goes_wrong_every_program_has_its_computed_end() {
    for seed in 0..300 {
        systems::programs(seed, 1 + seed % 8, seed.is_multiple_of(4))
            .from_seed(seed)
            .check(1);
    }
}

/// A row that waits to be sent when the clock is set back is parked, for its delay is over the broker's limit then.
#[test]
fn when_the_clock_is_set_back_before_an_alarm_is_sent_it_is_sent_all_the_same() {
    systems::programs(156_511, 2, false).replay("sqs requests:1 world#0=at:3878:step:1:-3600000000");
}
