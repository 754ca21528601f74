//! The protocol holds under every order of steps and faults, and a rule less is noticed.

use longhaul_protocol_model::{
    Bounds, Broken, Invariant, Mutation, Outputs, Protocol, Report, Verdict, Violation, search,
};

const MOST_STATES: u32 = 2_000_000;

fn report(protocol: &Protocol) -> Report {
    let report = search(protocol, MOST_STATES, |_| {});
    println!(
        "{:?}, {:?}: {} states, {} steps between them, depth {}, {} ends",
        protocol.bounds, protocol.outputs, report.states, report.transitions, report.depth, report.ends
    );
    report
}

#[track_caller]
fn holds(protocol: &Protocol) {
    let report = report(protocol);
    match report.verdict {
        Verdict::Holds => assert!(report.ends > 0),
        Verdict::Violated(violation) => panic!("{violation}"),
        Verdict::TooManyStates => panic!("more than {MOST_STATES} states"),
    }
}

#[track_caller]
fn violation(mutation: Mutation) -> Violation {
    let bounds = Bounds {
        crashes: 1,
        duplicates: 1,
        lapses: 1,
        ..Bounds::default()
    };
    let protocol = Protocol {
        mutation: Some(mutation),
        ..Protocol::new(bounds)
    };
    match report(&protocol).verdict {
        Verdict::Violated(violation) => {
            println!("{mutation}:\n{violation}");
            assert!(violation.trace.len() < 25);
            violation
        }
        Verdict::Holds | Verdict::TooManyStates => panic!("{mutation} was not noticed"),
    }
}

#[test]
fn when_nothing_goes_wrong_every_order_ends_well() {
    holds(&Protocol {
        outputs: [Outputs::Two, Outputs::One],
        ..Protocol::new(Bounds::default())
    });
}

#[test]
fn when_a_process_or_the_store_crashes_every_order_ends_well() {
    holds(&Protocol {
        outputs: [Outputs::Two, Outputs::One],
        ..Protocol::new(Bounds {
            crashes: 1,
            ..Bounds::default()
        })
    });
}

#[test]
fn when_a_crash_meets_a_duplicate_every_order_ends_well() {
    holds(&Protocol::new(Bounds {
        crashes: 1,
        duplicates: 1,
        ..Bounds::default()
    }));
}

#[test]
fn when_there_are_two_crashes_every_order_ends_well() {
    holds(&Protocol::new(Bounds {
        crashes: 2,
        ..Bounds::default()
    }));
}

#[test]
fn when_a_crash_meets_a_lease_that_ends_too_early_every_order_ends_well() {
    holds(&Protocol::new(Bounds {
        crashes: 1,
        lapses: 1,
        ..Bounds::default()
    }));
}

#[test]
fn when_a_crash_meets_a_commit_that_is_answered_with_an_error_every_order_ends_well() {
    holds(&Protocol::new(Bounds {
        crashes: 1,
        errors: 1,
        ..Bounds::default()
    }));
}

#[test]
fn when_a_crash_meets_a_refused_send_every_order_ends_well() {
    holds(&Protocol::new(Bounds {
        crashes: 1,
        refusals: 1,
        ..Bounds::default()
    }));
}

#[test]
fn when_a_message_is_acknowledged_before_its_commit_it_can_be_lost() {
    let violation = violation(Mutation::AckBeforeCommit);
    assert_eq!(
        violation.broken,
        Broken::Invariant(Invariant::DurableBeforeAcknowledged)
    );
}

#[test]
fn when_a_row_is_marked_before_its_confirmation_the_output_can_be_lost() {
    let violation = violation(Mutation::MarkBeforeConfirm);
    assert_eq!(violation.broken, Broken::Invariant(Invariant::MarkedIsAtBroker));
}

#[test]
fn when_outputs_leave_before_the_commit_is_durable_they_can_be_ghosts() {
    let violation = violation(Mutation::SendBeforeDurable);
    assert_eq!(violation.broken, Broken::Invariant(Invariant::DurableBeforeSent));
}

#[test]
fn when_the_inbox_is_not_checked_an_effect_can_happen_twice() {
    let violation = violation(Mutation::InboxNotChecked);
    assert_eq!(violation.broken, Broken::Invariant(Invariant::EffectOnce));
}

#[test]
fn when_the_version_is_not_compared_an_update_can_be_lost() {
    let violation = violation(Mutation::VersionNotCompared);
    assert_eq!(violation.broken, Broken::Invariant(Invariant::NoFork));
}

#[test]
fn when_the_relay_is_off_a_crash_can_leave_rows_behind() {
    let violation = violation(Mutation::RelayOff);
    assert_eq!(violation.broken, Broken::Stranded);
}

#[test]
fn when_the_inbox_has_its_own_transaction_an_effect_can_happen_twice() {
    let violation = violation(Mutation::InboxInOwnTransaction);
    assert_eq!(violation.broken, Broken::Invariant(Invariant::EffectOnce));
}

#[test]
fn when_the_gate_sees_what_is_not_durable_a_message_can_be_lost() {
    let violation = violation(Mutation::LoadBeforeDurable);
    assert_eq!(
        violation.broken,
        Broken::Invariant(Invariant::DurableBeforeAcknowledged)
    );
}

#[test]
fn when_the_relay_claims_what_is_not_durable_outputs_can_be_ghosts() {
    let violation = violation(Mutation::ClaimBeforeDurable);
    assert_eq!(violation.broken, Broken::Invariant(Invariant::DurableBeforeSent));
}

#[test]
fn when_rules_are_listed_each_is_found_by_its_name() {
    for mutation in Mutation::ALL {
        assert_eq!(Mutation::named(mutation.name()), Some(mutation));
    }
}
