//! A third party behind a breaker, and order behind what was refused, under everything that can go wrong.

use longhaul_simulation::{Faults, systems};

#[test]
fn when_nothing_goes_wrong_what_was_refused_is_replayed_in_order() {
    systems::outages(12).faults(Faults::none()).check(2);
}

#[test]
fn when_anything_goes_wrong_nothing_overtakes_and_all_is_printed_once() {
    systems::outages(8).check(300);
}
