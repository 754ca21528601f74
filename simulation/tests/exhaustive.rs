//! One message with two outputs, and every fault at every place.

use longhaul_simulation::{CrashPoint, FaultKind, Faults, systems};

#[test]
fn when_one_thing_goes_wrong_at_any_place_nothing_is_lost_or_doubled() {
    let explored = systems::one_message()
        .explore(1, |_| {})
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{explored:?}");
    assert!(explored.singles > 300, "{explored:?}");
}

#[test]
fn when_processes_end_at_any_two_points_nothing_is_lost_or_doubled() {
    let crashes = Faults::none().with(FaultKind::Crash);
    let system = systems::one_message().faults(crashes);
    let explored = system
        .explore(2, |_| {})
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{explored:?}");
    println!(
        "{} of {} points: {:?}",
        explored.passed().len(),
        CrashPoint::ALL.len(),
        explored.passed()
    );
    assert!(explored.pairs > 5_000, "{explored:?}");
    // Wherever one message comes by, before and after.
    assert!(explored.quiet.len() >= 16, "{explored:?}");
    assert_eq!(explored.ends(), 2 * explored.passed().len(), "{explored:?}");
}
