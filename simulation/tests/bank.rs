//! Money that moves between accounts, under everything that can go wrong.

use longhaul_simulation::{Faults, systems};

#[test]
fn when_nothing_goes_wrong_no_money_is_lost() {
    systems::bank(10, false).faults(Faults::none()).check(2);
}

#[test]
fn when_everything_goes_wrong_no_money_is_lost() {
    systems::bank(8, false).check(300);
}

#[test]
fn when_two_processes_keep_the_accounts_no_money_is_lost() {
    systems::bank(8, true).check(300);
}
