//! Timeouts that are moved, under everything that can go wrong.

use longhaul_simulation::{Faults, systems};

#[test]
fn when_nothing_goes_wrong_every_moved_timeout_fires_in_time() {
    systems::alarms(8).faults(Faults::none()).check(2);
}

#[test]
fn when_everything_goes_wrong_every_moved_timeout_fires_in_time() {
    systems::alarms(8).check(300);
}
