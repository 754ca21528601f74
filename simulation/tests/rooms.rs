//! Ids that are taken again when what was known of them is forgotten, under everything that can go wrong.

use longhaul_simulation::{Faults, systems};

#[test]
fn when_nothing_goes_wrong_each_stay_begins_and_ends() {
    systems::rooms(4).faults(Faults::none()).check(2);
}

#[test]
fn when_everything_goes_wrong_no_stay_is_touched_by_what_was_for_another() {
    systems::rooms(4).check(300);
}
