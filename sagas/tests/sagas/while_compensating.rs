//! What a saga takes while it undoes what it did.

use std::time::Duration;

use longhaul_sagas::Status;
use longhaul_testing::scenario::Scenario;

use crate::compensation::done;
use crate::plan::{
    Answer, Ask, Change, DoStep, Missed, Plan, Poke, Reminder, StepDone, StepUndone, UndoStep, begun,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn when_it_compensates_other_messages_count_as_late() {
    done(1)
        .given(Change::Stop(7))
        .when(Change::Extend(7))
        .then_ignored();
}

#[test]
fn when_it_compensates_other_messages_go_to_not_found_if_the_saga_has_it() {
    done(1)
        .given(Change::Stop(7))
        .when(Poke { plan: 7 })
        .then_replied::<Missed>(|missed| assert!(!missed.ended))
        .then_status(Status::Compensating)
        .when_reply::<UndoStep>(StepUndone)
        .when(Poke { plan: 7 })
        .then_replied::<Missed>(|missed| assert!(missed.ended));
}

#[test]
fn when_it_compensates_messages_with_a_function_for_that_are_handled() {
    done(1)
        .given(Change::Stop(7))
        .when(Ask { plan: 7 })
        .then_replied::<Answer>(|answer| assert!(answer.stopping));
}

#[test]
fn when_it_compensates_a_starting_message_begins_no_new_life() {
    done(1)
        .given(Change::Stop(7))
        .when(begun(1))
        .then_ignored()
        .then_status(Status::Compensating);
}

#[test]
fn when_it_compensates_forward_functions_do_not_run_for_replies_to_steps() {
    Scenario::<Plan>::new()
        .given(begun(1))
        .given(Change::Stop(7))
        .when_reply::<DoStep>(StepDone)
        .then_state(|plan| assert_eq!(plan.done, 0));
}

#[test]
fn when_it_compensates_timeouts_still_fire() {
    Scenario::<Plan>::new()
        .given(begun(1))
        .given(Change::Stop(7))
        .advance(DAY)
        .then_sent::<Reminder>(|_| {});
}
