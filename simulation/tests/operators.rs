//! What an operator tells a running endpoint, about its sagas and its order, under everything that can go wrong.

use longhaul_simulation::{Faults, systems};

#[test]
fn when_nothing_goes_wrong_each_trip_ends() {
    systems::operators(4).faults(Faults::none()).check(2);
}

#[test]
fn when_everything_goes_wrong_each_thing_is_done_once_at_most() {
    systems::operators(4).check(300);
}

#[test]
fn when_everything_goes_wrong_what_waits_behind_a_discarded_message_is_let_pass() {
    systems::discards(10).check(300);
}
