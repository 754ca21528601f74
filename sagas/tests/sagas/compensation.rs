//! Undoing what was done: in reverse order, one at a time, each exactly once in effect.

use std::time::Duration;

use longhaul_core::message::Message;
use longhaul_sagas::{Saga, Status, StepState};
use longhaul_testing::scenario::Scenario;

use crate::plan::{
    ANSWER_WITHIN, ATTEMPTS, Begun, Cancelled, Change, DoStep, FULL, Kind, MINUTE, Plan, StepDone,
    StepRefused, StepUndone, UNDO_WITHIN, UndoRefused, UndoStep, begun,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// So many steps, all of them done.
pub(crate) fn done(steps: usize) -> Scenario<Plan> {
    let mut scenario = Scenario::new();
    scenario.given(begun(steps));
    for step in 1..=steps {
        scenario.when_reply_to_nth::<DoStep>(step, StepDone);
    }
    scenario
}

fn states<S: Saga>(scenario: &Scenario<S>) -> Vec<StepState> {
    scenario.look().map_or_else(Vec::new, |instance| {
        instance.steps.iter().map(|step| step.state).collect()
    })
}

#[test]
fn when_it_compensates_what_is_done_is_undone_in_reverse_order_one_at_a_time() {
    let mut scenario = done(3);
    scenario.when(Change::Stop(7)).then_status(Status::Compensating);
    for step in [2, 1, 0] {
        scenario
            .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, step))
            .then_nothing_sent();
        scenario.when_reply::<UndoStep>(StepUndone);
    }
    scenario
        .then_published::<Cancelled>(|cancelled| assert_eq!(cancelled.reason, "nobody wants it"))
        .then_nothing_sent()
        .then_compensated();
}

#[test]
fn when_a_reply_of_the_named_type_comes_the_step_is_done() {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(2))
        .when_reply_to_nth::<DoStep>(1, StepDone)
        .then_state(|plan| assert_eq!(plan.done, 1));
    assert_eq!(states(&scenario), [StepState::Done, StepState::Pending]);
}

#[test]
fn when_another_reply_comes_the_step_is_refused_and_never_undone() {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(2))
        .when_reply_to_nth::<DoStep>(1, StepDone)
        .when_reply_to_nth::<DoStep>(2, StepRefused)
        .then_state(|plan| assert_eq!(plan.refused, 1))
        .when(Change::Stop(7))
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 0))
        .when_reply::<UndoStep>(StepUndone)
        .then_compensated();
}

#[test]
fn when_a_step_has_no_done_by_it_is_undone_as_soon_as_it_was_sent() {
    let kind = Kind {
        awaited: false,
        ..FULL
    };
    Scenario::<Plan>::new()
        .given(Begun {
            plan: 7,
            steps: vec![kind],
        })
        .when(Change::Stop(7))
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 0));
}

#[test]
fn when_undos_are_not_awaited_they_leave_together_in_reverse_order() {
    let kind = Kind {
        awaited: false,
        undo_awaited: false,
        ..FULL
    };
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(Begun {
            plan: 7,
            steps: vec![kind; 3],
        })
        .when(Change::Stop(7));
    for step in [2, 1, 0] {
        scenario.then_sent::<UndoStep>(|undo| assert_eq!(undo.step, step));
    }
    scenario
        .then_published::<Cancelled>(|_| {})
        .then_nothing_sent()
        .then_compensated();
}

#[test]
fn when_a_step_has_no_undo_compensation_passes_it_by() {
    let kind = Kind { undo: false, ..FULL };
    Scenario::<Plan>::new()
        .given(Begun {
            plan: 7,
            steps: vec![kind; 2],
        })
        .when(Change::Stop(7))
        .then_published::<Cancelled>(|_| {})
        .then_nothing_sent()
        .then_compensated();
}

#[test]
fn when_a_step_is_pending_its_answer_is_waited_for_before_earlier_steps_are_undone() {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(2))
        .when_reply_to_nth::<DoStep>(1, StepDone)
        .when(Change::Stop(7))
        .then_nothing_sent()
        .advance(ANSWER_WITHIN - MINUTE)
        .then_nothing_changed()
        .when_reply_to_nth::<DoStep>(2, StepDone)
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 1))
        .then_nothing_sent()
        .when_reply::<UndoStep>(StepUndone)
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 0))
        .when_reply::<UndoStep>(StepUndone)
        .then_compensated();
}

#[test]
fn when_a_pending_step_is_refused_while_compensating_there_is_nothing_to_undo_in_it() {
    Scenario::<Plan>::new()
        .given(begun(1))
        .given(Change::Stop(7))
        .when_reply::<DoStep>(StepRefused)
        .then_published::<Cancelled>(|_| {})
        .then_nothing_sent()
        .then_compensated();
}

#[test]
fn when_the_answer_does_not_come_in_time_earlier_steps_are_undone_and_the_saga_waits_for_an_operator() {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(2))
        .when_reply_to_nth::<DoStep>(1, StepDone)
        .given(Change::Stop(7))
        .advance(ANSWER_WITHIN)
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 0))
        .then_status(Status::Compensating)
        .when_reply::<UndoStep>(StepUndone)
        .then_nothing_sent()
        .then_status(Status::Stuck);
    assert_eq!(states(&scenario), [StepState::Undone, StepState::Overdue]);
}

#[test]
fn when_a_success_comes_after_the_deadline_its_undo_runs_all_the_same() {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(1))
        .given(Change::Stop(7))
        .advance(30 * DAY)
        .then_status(Status::Stuck)
        .when_reply_to_nth::<DoStep>(1, StepDone)
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 0))
        .then_status(Status::Compensating)
        .when_reply::<UndoStep>(StepUndone)
        .then_compensated();
}

#[test]
fn when_a_refusal_comes_after_the_deadline_nothing_is_left_to_undo() {
    Scenario::<Plan>::new()
        .given(begun(1))
        .given(Change::Stop(7))
        .advance(2 * ANSWER_WITHIN)
        .when_reply_to_nth::<DoStep>(1, StepRefused)
        .then_compensated();
}

#[test]
fn when_a_late_success_comes_while_an_earlier_step_is_being_undone_its_undo_waits_its_turn() {
    Scenario::<Plan>::new()
        .given(begun(2))
        .when_reply_to_nth::<DoStep>(1, StepDone)
        .given(Change::Stop(7))
        .advance(ANSWER_WITHIN)
        .when_reply_to_nth::<DoStep>(2, StepDone)
        .then_nothing_sent()
        .when_reply::<UndoStep>(StepUndone)
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 1))
        .when_reply::<UndoStep>(StepUndone)
        .then_compensated();
}

#[test]
fn when_a_success_follows_a_refusal_the_step_counts_as_done() {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(1))
        .when_reply_to_nth::<DoStep>(1, StepRefused)
        .when_reply_to_nth::<DoStep>(1, StepDone)
        .when(Change::Stop(7))
        .then_sent::<UndoStep>(|_| {});
}

#[test]
fn when_an_undo_is_refused_it_is_sent_again_later_as_a_new_message() {
    let mut scenario = done(1);
    scenario.when(Change::Stop(7));
    let first = scenario.recorded()[0].id.clone();
    scenario
        .when_reply::<UndoStep>(UndoRefused)
        .then_nothing_sent()
        .then_status(Status::Compensating)
        .advance(Duration::from_secs(10))
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 0));
    assert_ne!(scenario.recorded()[0].id, first);
    scenario.when_reply::<UndoStep>(StepUndone).then_compensated();
}

#[test]
fn when_an_undo_is_not_answered_it_is_sent_again_under_the_same_id() {
    let mut scenario = done(1);
    scenario.when(Change::Stop(7));
    let first = scenario.recorded()[0].id.clone();
    scenario
        .advance(UNDO_WITHIN)
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 0))
        .then_nothing_sent();
    assert_eq!(
        scenario.recorded()[0].id,
        first,
        "the receiver knows it, and can't carry it out twice"
    );
    scenario.when_reply::<UndoStep>(StepUndone).then_compensated();
}

#[test]
fn when_an_undo_is_refused_too_often_the_saga_is_stuck_and_earlier_steps_stay() {
    let mut scenario = done(2);
    scenario.when(Change::Stop(7));
    for _ in 1..ATTEMPTS {
        scenario
            .when_reply::<UndoStep>(UndoRefused)
            .advance(MINUTE)
            .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 1));
    }
    scenario
        .when_reply::<UndoStep>(UndoRefused)
        .advance(10 * MINUTE)
        .then_nothing_sent()
        .then_status(Status::Stuck);
    assert_eq!(states(&scenario), [StepState::Done, StepState::Failed]);
    let note = scenario
        .look()
        .and_then(|instance| instance.steps[1].note.clone());
    assert_eq!(
        note.as_deref(),
        Some("answered by plan.undo_refused.v1 after 3 attempts")
    );
}

#[test]
fn when_an_undo_is_never_answered_the_saga_is_stuck_after_as_many_attempts() {
    let mut scenario = done(1);
    scenario
        .when(Change::Stop(7))
        .advance(10 * UNDO_WITHIN)
        .then_sent_exactly(&[UndoStep::NAME; ATTEMPTS as usize - 1])
        .then_status(Status::Stuck);
}

#[test]
fn when_the_answer_to_an_undo_comes_after_it_was_given_up_the_compensation_goes_on() {
    let mut scenario = done(2);
    scenario
        .when(Change::Stop(7))
        .advance(10 * UNDO_WITHIN)
        .then_status(Status::Stuck)
        .when_reply::<UndoStep>(StepUndone)
        .then_sent::<UndoStep>(|undo| assert_eq!(undo.step, 0))
        .then_status(Status::Compensating);
}

#[test]
fn when_there_is_nothing_to_undo_it_is_compensated_at_once() {
    Scenario::<Plan>::new()
        .given(begun(0))
        .when(Change::Stop(7))
        .then_published::<Cancelled>(|_| {})
        .then_compensated()
        .then_no_timeout_pending();
}

#[test]
fn when_it_was_compensated_a_late_reply_is_counted_and_forgotten() {
    Scenario::<Plan>::new()
        .given(begun(1))
        .given(Change::Stop(7))
        .when_reply::<DoStep>(StepRefused)
        .when_reply::<DoStep>(StepRefused)
        .then_ignored()
        .then_compensated();
}

#[test]
fn when_it_is_to_finish_with_a_step_pending_it_finishes_with_the_answer() {
    let mut scenario = Scenario::<Plan>::new();
    scenario
        .given(begun(2))
        .when(Change::Finish(7))
        .then_status(Status::Active)
        .when_reply_to_nth::<DoStep>(1, StepDone)
        .then_status(Status::Active)
        .when_reply_to_nth::<DoStep>(2, StepDone)
        .then_nothing_sent()
        .then_completed();
}

#[test]
fn when_it_is_to_finish_and_is_stopped_before_the_last_answer_it_compensates() {
    Scenario::<Plan>::new()
        .given(begun(1))
        .given(Change::Finish(7))
        .given(Change::Stop(7))
        .when_reply::<DoStep>(StepDone)
        .then_sent::<UndoStep>(|_| {})
        .when_reply::<UndoStep>(StepUndone)
        .then_compensated();
}

#[test]
fn when_the_same_reply_is_delivered_twice_nothing_is_undone_twice() {
    done(2)
        .given(Change::Stop(7))
        .when_reply::<UndoStep>(StepUndone)
        .when_again()
        .then_nothing_changed()
        .when_reply_to_nth::<UndoStep>(1, StepUndone)
        .then_nothing_changed();
}
