//! An endpoint whose code goes forward and back a version, under everything that can go wrong.

use longhaul_simulation::{FaultKind, Faults, systems};

#[test]
fn when_nothing_goes_wrong_the_newer_version_ends_what_the_older_one_began() {
    systems::versions(4, false).faults(Faults::none()).check(2);
}

#[test]
fn when_everything_goes_wrong_newer_state_is_never_overwritten() {
    systems::versions(4, false).check(300);
}

#[test]
fn when_both_versions_run_at_once_newer_state_is_never_overwritten() {
    // Clocks that differ: see the last test.
    let faults = Faults::all().without(FaultKind::Clock);
    systems::versions(4, true).faults(faults).check(300);
}

/// An alarm that is replayed where the clock says that it is early stays parked, and its timeout never fires.
#[test]
fn when_an_alarm_is_replayed_too_early_it_fires_in_time() {
    systems::versions(1, true).from_seed(133_645).check(1);
}

/// The operator replays while older versions may still come back: they would refuse the same again, for good.
#[test]
fn when_everything_refused_is_replayed_no_older_version_comes_back() {
    systems::versions(2, true).replay(
        "rabbit seed:563268 requests:0,2,3,4 world#0=at:5605271:stop:1 world#1=at:1468699:cut:3 \
         world#2=at:1510200:step:2:3600000000 arrival#3=late:100000 send#4=unknown:1 arrival#5=late:100000 \
         send#12=unknown:1 MoveToErrors/Before#5=crash:1 RunStateful/After#11=crash:1 RunStateful/After#12=crash:1",
    );
}
