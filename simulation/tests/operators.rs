//! What an operator tells sagas of a running endpoint, under everything that can go wrong.

use longhaul_simulation::{Faults, systems};

#[test]
fn when_nothing_goes_wrong_each_trip_ends() {
    systems::operators(4).faults(Faults::none()).check(2);
}

#[test]
fn when_everything_goes_wrong_each_thing_is_done_once_at_most() {
    systems::operators(4).check(300);
}
