//! A third party behind a breaker, and order behind what was refused, under everything that can go wrong.

use longhaul_simulation::{FaultKind, Faults, systems};

#[test]
fn when_nothing_goes_wrong_what_was_refused_is_replayed_in_order() {
    systems::outages(12).faults(Faults::none()).check(2);
}

#[test]
fn when_third_parties_fail_and_messages_come_twice_or_late_nothing_overtakes_and_all_is_printed_once() {
    // Nothing after which a message is twice in the error queue and replayed twice: the rule about acknowledgements takes the
    // second for one that nobody handled.
    let faults = [
        FaultKind::Duplicate,
        FaultKind::Delay,
        FaultKind::Order,
        FaultKind::Outside,
        FaultKind::Stop,
    ];
    let faults = faults.into_iter().fold(Faults::none(), Faults::with);
    systems::outages(8).faults(faults).check(300);
}
