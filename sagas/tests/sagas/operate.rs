//! What operators do about instances: those that are stuck, and timeouts of any.

use std::time::Duration;

use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::outbound::Outbound;
use longhaul_core::stateful::{Effects, Taken};
use longhaul_core::store::{Record, UnitOfWork};
use longhaul_sagas::operate::{self, OperateError, OperateErrorKind};
use longhaul_sagas::{Outcome, Status, StepState};
use longhaul_testing::scenario::Scenario;

use crate::plan::{
    ANSWER_WITHIN, Cancelled, Change, DoStep, Plan, Reminder, StepDone, StepUndone, UNDO_WITHIN, UndoRefused,
    UndoStep, begun,
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

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The ids of the timeouts that the instance waits for: the saga's own, and those of its compensation.
fn timeouts(scenario: &Scenario<Plan>, own: bool) -> Vec<MessageId> {
    let waits = scenario.look().expect("an instance").timeouts.into_iter();
    let waits = waits.filter(|timeout| timeout.own == own);
    waits
        .map(|timeout| MessageId::new(timeout.id.as_str()).expect("an id"))
        .collect()
}

/// What is committed from outside.
fn commit(
    change: impl FnOnce(&Record, Timestamp) -> Result<UnitOfWork, OperateError>,
) -> impl FnOnce(&Record, Outbound, Timestamp) -> Result<Effects, OperateError> {
    |record, outbound, now| {
        let work = change(record, now)?;
        Ok(Effects {
            outbound,
            records: work.records,
            pending: work.pending,
            taken: Taken::Handled,
            became: Vec::new(),
        })
    }
}

fn last_event(scenario: &Scenario<Plan>) -> (String, Option<String>) {
    let instance = scenario.look().expect("an instance");
    let last = instance.history.events.last().expect("an event");
    (last.what.clone(), last.from.clone())
}

#[test]
fn when_an_operator_cancels_a_timeout_the_instance_no_longer_waits_for_it_and_goes_on() {
    let mut scenario = Scenario::<Plan>::new();
    scenario.given(begun(1));
    let daily = timeouts(&scenario, true).remove(0);
    scenario
        .operate(commit(|record, now| operate::cancel_timeout(record, &daily, now)))
        .then_no_timeout_pending()
        .then_status(Status::Active);
    assert_eq!(timeouts(&scenario, true), []);
    assert_eq!(
        last_event(&scenario),
        ("cancel timeout Daily".to_owned(), Some("operator".to_owned()))
    );
    scenario
        .advance(2 * DAY)
        .then_nothing_sent()
        .when_reply::<DoStep>(StepDone)
        .then_status(Status::Active);
}

#[test]
fn when_an_operator_moves_a_timeout_the_instance_waits_until_then() {
    let mut scenario = Scenario::<Plan>::new();
    scenario.given(begun(1));
    let daily = timeouts(&scenario, true).remove(0);
    let due = scenario.now() + 3 * DAY;
    scenario
        .operate(commit(|record, now| {
            operate::move_timeout(record, &daily, due, now)
        }))
        .then_timeout_pending(3 * DAY, |_| {});
    assert_eq!(scenario.look().expect("an instance").timeouts[0].due, due);
    assert_eq!(last_event(&scenario).0, format!("move timeout Daily to {due}"));
    scenario
        .advance(2 * DAY)
        .then_nothing_sent()
        .advance(DAY)
        .then_sent::<Reminder>(|_| {});
}

#[test]
fn when_a_compensation_waits_for_a_timeout_an_operator_may_move_it_and_not_cancel_it() {
    let mut scenario = Scenario::<Plan>::new();
    scenario.given(begun(1)).given(Change::Stop(7));
    let answer = timeouts(&scenario, false).remove(0);
    let refused = operate::cancel_timeout(&record(&scenario), &answer, scenario.now()).expect_err("needed");
    assert_eq!(refused.kind(), OperateErrorKind::Needed);
    assert!(refused.to_string().contains("move it instead"), "{refused}");
    let now = scenario.now();
    scenario
        .operate(commit(|record, _| {
            operate::move_timeout(record, &answer, now, now)
        }))
        .then_status(Status::Compensating)
        .advance(Duration::ZERO)
        .then_status(Status::Stuck);
}

#[test]
fn when_an_instance_waits_for_no_such_timeout_or_is_finished_it_is_not_changed() {
    let mut scenario = Scenario::<Plan>::new();
    scenario.when(begun(1));
    let kind = |record: &Record, id: &MessageId, now| {
        let canceled = operate::cancel_timeout(record, id, now).expect_err("none");
        let moved = operate::move_timeout(record, id, now, now).expect_err("none");
        assert_eq!(canceled.kind(), moved.kind());
        moved.kind()
    };
    let other = MessageId::new("another").expect("an id");
    let now = scenario.now();
    assert_eq!(
        kind(&record(&scenario), &other, now),
        OperateErrorKind::NoSuchTimeout
    );
    let daily = timeouts(&scenario, true).remove(0);
    scenario.when_reply::<DoStep>(StepDone).given(Change::Finish(7));
    assert_eq!(kind(&record(&scenario), &daily, now), OperateErrorKind::Finished);
}
