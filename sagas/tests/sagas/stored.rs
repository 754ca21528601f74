//! What earlier releases stored is still read, and what can't be read is left alone.

use longhaul_core::handler::ErrorClass;
use longhaul_core::reason::Reason;
use longhaul_core::store::{Record, RecordKey};
use longhaul_sagas::{Instance, Outcome, Status, StepState};
use longhaul_testing::scenario::Scenario;

use crate::plan::{Ask, Change, Plan, begun};

/// Written by 0.1: one step of every state, and a timeout for each purpose.
const COMPENSATING: &str = include_str!("stored/0.1-compensating.json");
/// Written by 0.1.
const GIVEN_UP: &str = include_str!("stored/0.1-given-up.json");

fn record(body: &str) -> Record {
    Record {
        key: RecordKey::new("saga/plan", "7"),
        version: 3,
        body: body.trim_end().as_bytes().to_vec().into(),
        expires: None,
    }
}

#[test]
fn when_0_1_stored_an_instance_it_is_read() {
    let instance = Instance::read(&record(COMPENSATING)).expect("readable");
    assert_eq!((instance.status, instance.outcome), (Status::Compensating, None));
    assert_eq!(instance.reason.as_deref(), Some("nobody wants it"));
    assert_eq!(
        instance.state.as_deref(),
        Some(r#"{"steps":9,"done":1,"refused":0}"#)
    );
    let states: Vec<StepState> = instance.steps.iter().map(|step| step.state).collect();
    let all = [
        StepState::Pending,
        StepState::Overdue,
        StepState::Done,
        StepState::Refused,
        StepState::Undoing,
        StepState::Retrying,
        StepState::Failed,
        StepState::Undone,
        StepState::Skipped,
    ];
    assert_eq!(states, all);
    let own: Vec<bool> = instance.timeouts.iter().map(|timeout| timeout.own).collect();
    assert_eq!(own, [true, false, false, false, false]);
}

#[test]
fn when_0_1_stored_an_instance_and_nothing_changes_it_is_written_the_same() {
    Scenario::<Plan>::new()
        .given_record(record(COMPENSATING))
        .when(Ask { plan: 7 })
        .then_state(|plan| {
            assert_eq!(plan.steps, 9);
        });
    let mut scenario = Scenario::<Plan>::new();
    scenario.given_record(record(COMPENSATING)).given(Ask { plan: 7 });
    assert_eq!(
        scenario.record().map(|record| record.version),
        Some(3),
        "it was not written"
    );
}

#[test]
fn when_0_1_stored_a_tombstone_it_is_read_and_a_new_life_can_begin() {
    let instance = Instance::read(&record(GIVEN_UP)).expect("readable");
    assert_eq!(
        (instance.status, instance.outcome),
        (Status::Stuck, Some(Outcome::GivenUp))
    );
    assert_eq!(instance.left, ["plan.do_step.v1: not undone"]);
    Scenario::<Plan>::new()
        .given_record(record(GIVEN_UP))
        .when(Change::Extend(7))
        .then_ignored()
        .when(begun(1))
        .then_status(Status::Active);
}

#[test]
fn when_a_record_is_damaged_or_newer_its_messages_are_refused_and_it_is_left_as_it_is() {
    let newer = COMPENSATING.replace("\"format\":1", "\"format\":2");
    let quite_new = r#"{"format":3,"what":"else"}"#;
    for (body, says) in [
        ("{", "damaged"),
        ("", "damaged"),
        (&newer, "format 2"),
        (quite_new, "format 3"),
    ] {
        let mut scenario = Scenario::<Plan>::new();
        scenario
            .given_record(record(body))
            .when(Change::Stop(7))
            .then_failed(|error| {
                assert_eq!(
                    (error.class(), error.reason()),
                    (ErrorClass::Permanent, Reason::UnreadableState)
                );
                assert!(error.to_string().contains(says), "{error}");
            });
        assert_eq!(scenario.record(), Some(&record(body)));
        assert!(
            Instance::read(&record(body))
                .expect_err("unreadable")
                .to_string()
                .contains(says)
        );
    }
}
