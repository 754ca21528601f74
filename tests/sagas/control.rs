//! What an operator does to sagas of a running endpoint: once, on the instance as it is, and never without a trace.

use std::sync::atomic::Ordering;
use std::time::Duration;

use longhaul::envelope::{Envelope, Intent};
use longhaul::headers::{self, Headers};
use longhaul::prelude::*;
use longhaul::sagas::control::{Action, Operate};
use longhaul::sagas::{Instance, Outcome, Status, StepState};

use crate::trips::{Cancelled, Trip, Trips, message, retry_all, skip};

#[test]
fn when_an_operator_retries_a_stuck_step_it_is_undone_and_the_compensation_ends() {
    let trips = Trips::new();
    trips.stuck(7);
    trips.open();
    trips.operate("o-1", &retry_all());
    assert_eq!(trips.trip(7).status, Status::Compensated);
    assert_eq!(trips.cancelled(), 2);
    let told = trips.trip(7).history.events;
    let event = told
        .iter()
        .find(|event| event.from.as_deref() == Some("operator"));
    let event = event.expect("it is in the history");
    assert_eq!(event.what, "retry hotel.book.v1: by alice");
    assert_eq!(event.message.as_ref().map(MessageId::as_str), Some("o-1"));
    assert_eq!(
        (event.before, event.after),
        (Some(Status::Stuck), Status::Compensating)
    );
    assert_eq!(event.sent, ["hotel.cancel.v1"]);
    let counted = [
        ("active", 1),
        ("compensated", 1),
        ("compensating", 2),
        ("completed", 0),
        ("given-up", 0),
        ("stuck", 1),
    ];
    assert_eq!(trips.statuses(), counted);
    assert!(trips.world.browse("error").is_empty());
}

#[test]
fn when_an_operator_skips_a_stuck_step_the_others_are_undone_and_who_and_why_stays() {
    let trips = Trips::new();
    trips.stuck(7);
    trips.open();
    let step = trips.trip(7).steps[1].clone();
    assert_eq!(step.state, StepState::Failed);
    // The same message comes twice, and again much later.
    for _ in 0..2 {
        trips.operate("o-1", &skip(&step.request));
    }
    trips.world.pass(Duration::from_secs(86_400));
    trips.operate("o-1", &skip(&step.request));
    let ended = trips.trip(7);
    assert_eq!(ended.outcome, Some(Outcome::Compensated));
    assert_eq!(ended.left, ["hotel.book.v1: cancelled by phone (by alice)"]);
    assert_eq!(trips.cancelled(), 1, "the other step");
    let skips = ended
        .history
        .events
        .iter()
        .filter(|event| event.what.starts_with("skip"));
    let skips: Vec<_> = skips.map(|event| event.what.as_str()).collect();
    assert_eq!(skips, ["skip hotel.book.v1: cancelled by phone (by alice)"]);
    assert!(trips.world.browse("error").is_empty());
}

#[test]
fn when_an_undo_was_refused_and_waits_to_be_sent_again_an_operator_skips_it_or_sends_it_now() {
    for action in ["skip", "retry"] {
        let trips = Trips::new();
        trips.hotel.is_closed.store(true, Ordering::SeqCst);
        trips.dropped(7);
        let step = trips.trip(7).steps[1].clone();
        assert_eq!(step.state, StepState::Retrying);
        trips.open();
        let step = Some(step.request);
        let wanted = match action {
            "skip" => skip(step.as_ref().expect("a step")),
            _ => Operate::new("7", Action::RetryStep { step }, "alice"),
        };
        trips.operate("o-1", &wanted);
        assert_eq!(trips.trip(7).status, Status::Compensated, "{action}");
        assert_eq!(
            trips.cancelled(),
            if action == "skip" { 1 } else { 2 },
            "{action}"
        );
        trips.world.pass(Duration::from_secs(86_400));
        assert_eq!(
            trips.cancelled(),
            if action == "skip" { 1 } else { 2 },
            "{action}"
        );
        assert_eq!(trips.world.sizes("trips").timeouts, 0, "{action}");
        assert!(trips.world.browse("error").is_empty());
    }
}

#[test]
fn when_what_an_operator_wants_can_t_be_done_it_goes_to_the_error_queue_and_nothing_changes() {
    /// Which step of the instance is to be skipped instead.
    type Step = fn(&Instance) -> Option<String>;
    let none: Step = |_| None;
    let nobody = Operate::new("8", Action::RetryStep { step: None }, "alice");
    let give_up = Operate::new("7", Action::GiveUp, "alice");
    let cases = [
        (
            (|trip| Some(trip.steps[0].request.to_string())) as Step,
            retry_all(),
            "is done",
        ),
        (|_| Some("no-such-step".to_owned()), retry_all(), "no such step"),
        (none, retry_all(), "no step of it has failed"),
        (none, nobody, "there is none of that id"),
        (none, give_up.clone(), "needs a reason"),
        (none, give_up.because("enough"), "not stuck"),
    ];
    for (step, operate, expected) in cases {
        let trips = Trips::new();
        trips.plan(7);
        let before = trips.trip(7);
        let skipped = step(&before).map(|step| skip(&MessageId::new(step).expect("an id")));
        trips.operate("o-1", &skipped.unwrap_or(operate));
        assert!(trips.refusal().contains(expected), "{}", trips.refusal());
        assert_eq!(trips.trip(7), before);
    }
}

#[test]
fn when_an_operator_ends_an_instance_that_is_on_its_way_what_it_did_is_undone() {
    let trips = Trips::new();
    trips.plan(7);
    let fail = Operate::new("7", Action::Compensate, "alice").because("fraud");
    trips.operate("o-1", &fail);
    let ended = trips.trip(7);
    assert_eq!(ended.outcome, Some(Outcome::Compensated));
    assert_eq!(ended.reason.as_deref(), Some("fraud (by alice)"));
    assert_eq!(trips.cancelled(), 2);
    // It is finished now, and says so.
    trips.operate("o-2", &fail);
    assert!(trips.refusal().contains("it is finished (compensated)"));
}

#[test]
fn when_an_operator_gives_up_an_instance_it_counts_as_failed_and_nothing_more_is_undone() {
    let trips = Trips::new();
    trips.stuck(7);
    trips.open();
    let give_up = Operate::new("7", Action::GiveUp, "alice").because("the hotel is gone");
    trips.operate("o-1", &give_up);
    trips.operate("o-1", &give_up);
    let ended = trips.trip(7);
    assert_eq!(ended.outcome, Some(Outcome::GivenUp));
    assert_eq!(ended.given_up.as_deref(), Some("the hotel is gone (by alice)"));
    let last = ended.history.events.last().expect("an event");
    assert_eq!(last.message.as_ref().map(MessageId::as_str), Some("o-1"));
    trips.world.pass(Duration::from_secs(86_400));
    assert_eq!(trips.cancelled(), 0);
    assert!(trips.world.browse("error").is_empty());
}

#[test]
fn when_a_step_was_never_answered_an_operator_skips_it() {
    let trips = Trips::new();
    trips.dropped(5);
    trips.world.pass(Duration::from_secs(2 * 3600));
    let stuck = trips.trip(5);
    assert_eq!(stuck.status, Status::Stuck);
    for (number, step) in stuck.steps.iter().enumerate() {
        assert_eq!(step.state, StepState::Overdue);
        let mut skip = skip(&step.request);
        skip.id = "5".to_owned();
        trips.operate(&format!("o-{number}"), &skip);
    }
    assert_eq!(trips.trip(5).outcome, Some(Outcome::Compensated));
    assert_eq!(trips.trip(5).left.len(), 2);
}

#[test]
fn when_an_earlier_life_of_the_instance_is_meant_the_next_one_is_left_alone() {
    let trips = Trips::new();
    trips.plan(7);
    let first = trips.trip(7).incarnation;
    let fail = Operate::new("7", Action::Compensate, "alice")
        .because("fraud")
        .of_life(first);
    trips.operate("o-1", &fail);
    trips.plan(7);
    trips.operate("o-2", &fail);
    assert!(trips.refusal().contains("the life that was meant is over"));
    assert_eq!(trips.trip(7).status, Status::Active);
}

#[test]
fn when_a_message_of_the_instance_failed_an_operator_s_does_not_wait_behind_it() {
    let trips = Trips::new();
    trips.stuck(7);
    trips.open();
    // It can't be read, and the instance keeps its order.
    let headers = Headers::from_iter(
        [
            (headers::INTENT, Intent::Reply.as_str()),
            (headers::TYPE, Cancelled::NAME),
            (headers::CONTENT_TYPE, "application/json"),
            ("longhaul.target.saga-type", "trip"),
            ("longhaul.target.saga-id", "7"),
            (
                "longhaul.target.saga-incarnation",
                trips.trip(7).incarnation.as_str(),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let bad = Envelope::new(MessageId::new("bad").expect("an id"), headers, "[]".into());
    trips.world.inject("trips", bad.into());
    trips
        .world
        .until("the error", || trips.world.browse("error").len() == 1);
    assert_eq!(trips.world.error_header(0, headers::ERROR_ORDER), "saga/trip/7");
    let step = trips.trip(7).steps[1].request.clone();
    trips.operate("o-1", &skip(&step));
    assert_eq!(trips.trip(7).steps[1].state, StepState::Skipped);
    assert_eq!(
        trips.cancelled(),
        1,
        "the other step, whose answer waits in order"
    );
    assert_eq!(trips.trip(7).status, Status::Compensating);
}

#[test]
fn when_a_saga_is_not_operable_or_another_is_meant_the_message_is_of_an_unknown_type() {
    let mut trips = Trips::new();
    trips.plan(7);
    trips
        .world
        .inject("trips", message("o-1", "tripp", &retry_all()).into());
    trips
        .world
        .until("the error", || trips.world.browse("error").len() == 1);
    trips.start(SagaEndpoint::saga::<Trip>);
    trips.operate("o-2", &retry_all());
    for number in 0..2 {
        let reason = trips.world.error_header(number, headers::ERROR_REASON);
        assert_eq!(reason, "unknown-type");
    }
}

#[test]
fn when_the_endpoint_is_down_what_an_operator_wants_happens_at_its_next_start() {
    let mut trips = Trips::new();
    trips.stuck(7);
    trips.open();
    trips
        .trips
        .take()
        .expect("it runs")
        .stop(&trips.world)
        .expect("stops");
    trips.operate("o-1", &retry_all());
    assert_eq!(trips.trip(7).status, Status::Stuck);
    trips.start(SagaEndpoint::operable_saga::<Trip>);
    trips.world.pass(Duration::from_secs(60));
    assert_eq!(trips.trip(7).status, Status::Compensated);
}
