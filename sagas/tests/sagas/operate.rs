//! What operators do about instances that are stuck.

use std::time::Duration;

use longhaul_core::store::Record;
use longhaul_sagas::operate::{self, OperateErrorKind};
use longhaul_sagas::{Outcome, Status, StepState};
use longhaul_testing::scenario::Scenario;

use crate::plan::{
    ANSWER_WITHIN, Cancelled, Change, DoStep, Plan, StepDone, StepUndone, UNDO_WITHIN, UndoRefused, UndoStep,
    begun,
};

const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Two steps are done; the undo of the second is refused for good.
fn refused() -> Scenario<Plan> {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(2))
        .when_reply_to_nth::<DoStep>(1, StepDone)
        .when_reply_to_nth::<DoStep>(2, StepDone)
        .given(Change::Stop(7));
    while scenario.look().map(|instance| instance.status) != Some(Status::Stuck) {
        scenario
            .when_reply::<UndoStep>(UndoRefused)
            .advance(Duration::from_secs(60));
    }
    scenario
}

fn record(scenario: &Scenario<Plan>) -> Record {
    scenario.record().expect("an instance").clone()
}

#[test]
fn when_an_operator_retries_the_undo_is_sent_again_and_the_compensation_goes_on() {
    let mut scenario = refused();
    scenario
        .operate(operate::retry)
        .then_status(Status::Compensating)
        .advance(Duration::ZERO)
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 1))
        .then_nothing_sent()
        .when_reply::<UndoStep>(StepUndone)
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 0))
        .when_reply::<UndoStep>(StepUndone)
        .then_published::<Cancelled>(|_| {})
        .then_compensated();
}

#[test]
fn when_an_operator_retries_an_undo_that_nobody_answered_it_keeps_its_id() {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(1))
        .when_reply::<DoStep>(StepDone)
        .when(Change::Stop(7));
    let first = scenario.recorded()[0].id.clone();
    scenario
        .advance(10 * UNDO_WITHIN)
        .then_status(Status::Stuck)
        .operate(operate::retry)
        .advance(Duration::ZERO)
        .then_sent::<UndoStep>(|_| {});
    assert_eq!(scenario.recorded()[0].id, first);
}

#[test]
fn when_the_undo_is_answered_before_the_retry_takes_effect_it_is_not_sent_again() {
    Scenario::<Plan>::new()
        .given(begun(1))
        .when_reply::<DoStep>(StepDone)
        .given(Change::Stop(7))
        .advance(10 * UNDO_WITHIN)
        .then_status(Status::Stuck)
        .operate(operate::retry)
        .when_reply::<UndoStep>(StepUndone)
        .then_published::<Cancelled>(|_| {})
        .then_nothing_sent()
        .then_compensated()
        .advance(Duration::from_secs(60))
        .then_nothing_changed();
}

#[test]
fn when_the_undo_is_refused_before_the_retry_takes_effect_the_retry_is_a_new_message() {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(1))
        .when_reply::<DoStep>(StepDone)
        .when(Change::Stop(7));
    let first = scenario.recorded()[0].id.clone();
    scenario
        .advance(10 * UNDO_WITHIN)
        .operate(operate::retry)
        .when_reply::<UndoStep>(UndoRefused)
        .then_sent::<UndoStep>(|_| {});
    assert_ne!(scenario.recorded()[0].id, first);
}

#[test]
fn when_an_undo_was_refused_after_all_an_operator_s_retry_is_a_new_message() {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(1))
        .when_reply::<DoStep>(StepDone)
        .when(Change::Stop(7));
    let first = scenario.recorded()[0].id.clone();
    scenario
        .advance(10 * UNDO_WITHIN)
        .when_reply::<UndoStep>(UndoRefused)
        .then_status(Status::Stuck)
        .operate(operate::retry)
        .advance(Duration::ZERO)
        .then_sent::<UndoStep>(|_| {});
    assert_ne!(scenario.recorded()[0].id, first);
}

#[test]
fn when_an_operator_retries_a_step_that_nobody_answered_it_is_waited_for_once_more() {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(1))
        .given(Change::Stop(7))
        .advance(2 * ANSWER_WITHIN)
        .then_status(Status::Stuck)
        .operate(operate::retry)
        .advance(ANSWER_WITHIN / 2)
        .then_status(Status::Compensating)
        .advance(ANSWER_WITHIN)
        .then_status(Status::Stuck);
}

#[test]
fn when_an_operator_skips_the_step_the_others_are_undone_and_the_reason_stays() {
    let mut scenario = refused();
    let step = scenario.look().expect("an instance").steps[1].request.clone();
    scenario
        .operate(|record, outbound, now| operate::skip(record, &step, "refunded by hand", outbound, now))
        .advance(Duration::ZERO)
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 0))
        .when_reply::<UndoStep>(StepUndone)
        .then_compensated();
    assert_eq!(
        scenario.look().expect("a tombstone").left,
        ["plan.do_step.v1: refunded by hand"]
    );
}

#[test]
fn when_an_operator_gives_up_nothing_more_is_undone_and_what_was_left_stays_in_the_outcome() {
    let mut scenario = refused();
    scenario
        .operate(|record, outbound, now| {
            operate::give_up(record, "the hotel is closed", outbound, now, RETENTION)
        })
        .then_nothing_sent()
        .then_no_timeout_pending()
        .advance(ANSWER_WITHIN)
        .then_nothing_changed();
    let end = scenario.look().expect("a tombstone");
    assert_eq!((end.status, end.outcome), (Status::Stuck, Some(Outcome::GivenUp)));
    assert_eq!(end.given_up.as_deref(), Some("the hotel is closed"));
    assert_eq!(end.reason.as_deref(), Some("nobody wants it"));
    assert_eq!(end.left.len(), 2);
}

#[test]
fn when_an_instance_is_not_stuck_an_operator_can_t_change_its_compensation() {
    let mut scenario = Scenario::<Plan>::new();
    scenario.given(begun(1)).given(Change::Stop(7));
    let fault =
        operate::retry(&record(&scenario), scenario.outbound(), scenario.now()).expect_err("not stuck");
    assert_eq!(fault.kind(), OperateErrorKind::NotStuck);
    assert_eq!(
        fault.to_string(),
        "change the compensation of plan \"7\": it is compensating, not stuck"
    );
}

#[test]
fn when_a_step_has_not_failed_it_can_t_be_skipped() {
    let scenario = refused();
    let instance = scenario.look().expect("an instance");
    assert_eq!(instance.steps[0].state, StepState::Done);
    let step = &instance.steps[0].request;
    let skipped = operate::skip(
        &record(&scenario),
        step,
        "why not",
        scenario.outbound(),
        scenario.now(),
    );
    assert_eq!(
        skipped.expect_err("it has not failed").kind(),
        OperateErrorKind::NoSuchStep
    );
}
