//! What an operator does to sagas of a running endpoint: once, on the instance as it is, and never without a trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longhaul::endpoint::EndpointBuilder;
use longhaul::envelope::{Envelope, Intent};
use longhaul::headers::{self, Headers};
use longhaul::prelude::*;
use longhaul::sagas::control::{Action, Operate};
use longhaul::sagas::{Instance, Outcome, Status, StepState};
use longhaul::store::{LoadRequest, RecordKey};
use serde::{Deserialize, Serialize};

use crate::world::{Ledger, Running, World};

macro_rules! messages {
    ($($derive:ident $name:ident = $wire:literal),+ $(,)?) => {$(
        #[derive(Debug, $derive, Serialize, Deserialize)]
        #[message($wire)]
        struct $name { trip: u64 }
    )+};
}

messages! {
    Command Plan = "trips.plan.v1",
    Command DropTrip = "trips.drop.v1",
    Command Book = "hotel.book.v1",
    Message Booked = "hotel.booked.v1",
    Command Cancel = "hotel.cancel.v1",
    Message Cancelled = "hotel.cancelled.v1",
    Message NotCancelled = "hotel.not_cancelled.v1",
    Event Dropped = "trips.dropped.v1",
}

/// Books a hotel, twice; cancels both when it is dropped.
#[derive(Serialize, Deserialize)]
struct Trip {
    trip: u64,
}

impl Saga for Trip {
    const NAME: &'static str = "trip";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &Plan| m.trip, Self::plan);
        saga.handles(
            |m: &DropTrip| m.trip,
            |_: &mut Self, _: DropTrip, ctx: &mut SagaContext<Self>| {
                ctx.compensate("nobody wants it");
                Ok(())
            },
        );
        saga.expects::<Booked>();
        saga.expects::<Cancelled>();
        saga.expects::<NotCancelled>();
        saga.compensated(|saga: &mut Self, ctx: &mut SagaContext<Self>| {
            ctx.publish(Dropped { trip: saga.trip });
            Ok(())
        });
        saga.compensation(CompensationPolicy {
            undo_attempts: 2,
            first_backoff: Duration::from_secs(3600),
            ..CompensationPolicy::default()
        });
        saga.keep_order();
    }
}

impl Trip {
    fn plan(plan: Plan, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let trip = plan.trip;
        for _ in 0..2 {
            ctx.send(Book { trip })
                .undo_with(Cancel { trip })
                .done_by::<Booked>()
                .undone_by::<Cancelled>();
        }
        Ok(Self { trip })
    }
}

/// Refuses to cancel while it is closed, and says nothing to bookings of trip 5.
#[derive(Clone, Default)]
struct Hotel {
    is_closed: Arc<AtomicBool>,
    did: Ledger,
}

impl Handler<Book> for Hotel {
    async fn handle(&self, book: Book, ctx: &mut Context) -> HandlerResult {
        let trip = book.trip;
        self.did.note(format!("book {trip}"));
        if trip != 5 {
            ctx.reply(Booked { trip });
        }
        Ok(())
    }
}

impl Handler<Cancel> for Hotel {
    async fn handle(&self, cancel: Cancel, ctx: &mut Context) -> HandlerResult {
        let trip = cancel.trip;
        if self.is_closed.load(Ordering::SeqCst) {
            ctx.reply(NotCancelled { trip });
        } else {
            self.did.note(format!("cancel {trip}"));
            ctx.reply(Cancelled { trip });
        }
        Ok(())
    }
}

struct Trips {
    world: World,
    hotel: Hotel,
    trips: Option<Running>,
    client: Running,
    _hotel: Running,
}

impl Trips {
    fn new() -> Self {
        let world = World::new();
        let hotel = Hotel::default();
        let running = world.start(
            world
                .endpoint("hotel")
                .handler::<Book>(hotel.clone())
                .handler::<Cancel>(hotel.clone()),
        );
        let client = world.start(
            world
                .stateless("client")
                .route::<Plan>("trips")
                .route::<DropTrip>("trips"),
        );
        let mut trips = Self {
            trips: None,
            client,
            hotel,
            _hotel: running,
            world,
        };
        trips.start(SagaEndpoint::operable_saga::<Trip>);
        trips
    }

    fn start(&mut self, with: fn(EndpointBuilder) -> EndpointBuilder) {
        if let Some(running) = self.trips.take() {
            running.stop(&self.world).expect("stops");
        }
        let trips = with(self.world.endpoint("trips"));
        let trips = trips.route::<Book>("hotel").route::<Cancel>("hotel");
        self.trips = Some(self.world.start(trips));
    }

    /// Plans a trip, drops it and waits until its second undo has failed for good.
    fn stuck(&self, trip: u64) {
        self.hotel.is_closed.store(true, Ordering::SeqCst);
        self.dropped(trip);
        self.world.pass(Duration::from_secs(2 * 3600));
        assert_eq!(self.trip(trip).status, Status::Stuck);
    }

    fn plan(&self, trip: u64) {
        let session = &self.client.session;
        self.world.run(session.send(Plan { trip })).expect("sent");
        self.world.pass(Duration::from_secs(60));
    }

    fn dropped(&self, trip: u64) {
        self.plan(trip);
        let session = &self.client.session;
        self.world.run(session.send(DropTrip { trip })).expect("sent");
        self.world.pass(Duration::from_secs(60));
    }

    fn open(&self) {
        self.hotel.is_closed.store(false, Ordering::SeqCst);
    }

    fn trip(&self, trip: u64) -> Instance {
        let request = LoadRequest {
            inbox: MessageId::new("nobody").expect("an id"),
            records: vec![RecordKey::new(Instance::collection("trip"), trip.to_string())],
            pending: None,
            now: self.world.clock.now(),
        };
        let loaded = self.world.run(self.world.store("trips").load(&request));
        let record = loaded.expect("loads").records.remove(0).expect("a record");
        Instance::read(&record).expect("reads")
    }

    /// An operator's message, and time for it to be handled.
    fn operate(&self, id: &str, operate: &Operate) {
        self.world.inject("trips", message(id, "trip", operate).into());
        self.world.pass(Duration::from_secs(60));
    }

    /// What the error queue says of its only message.
    #[track_caller]
    fn refusal(&self) -> String {
        assert_eq!(self.world.browse("error").len(), 1);
        self.world.error_header(0, headers::ERROR_TEXT)
    }

    fn cancelled(&self) -> usize {
        let did = self.hotel.did.entries();
        did.iter().filter(|did| did.starts_with("cancel")).count()
    }
}

fn message(id: &str, saga: &str, operate: &Operate) -> Envelope {
    let headers = Headers::from_iter([
        (headers::INTENT, Intent::Send.as_str().to_owned()),
        (headers::TYPE, Operate::type_name(saga)),
        (headers::CONTENT_TYPE, "application/json".to_owned()),
    ]);
    let body = serde_json::to_vec(operate).expect("encodes");
    Envelope::new(MessageId::new(id).expect("an id"), headers, body.into())
}

fn retry_all() -> Operate {
    Operate::new("7", Action::RetryStep { step: None }, "alice")
}

fn skip(step: &MessageId) -> Operate {
    let step = step.clone();
    Operate::new("7", Action::SkipStep { step }, "alice").because("cancelled by phone")
}

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
fn when_a_step_is_not_stuck_or_unknown_or_the_instance_is_the_message_goes_to_the_error_queue_and_nothing_changes()
 {
    let skips = |step: &str| skip(&MessageId::new(step).expect("an id"));
    let nobody = Operate::new("8", Action::RetryStep { step: None }, "alice");
    let give_up = Operate::new("7", Action::GiveUp, "alice");
    let cases: [(fn(&Instance) -> Option<String>, Operate, &str); 6] = [
        (
            |trip| Some(trip.steps[0].request.to_string()),
            retry_all(),
            "is done",
        ),
        (|_| Some("no-such-step".to_owned()), retry_all(), "no such step"),
        (|_| None, retry_all(), "no step of it has failed"),
        (|_| None, nobody, "there is none of that id"),
        (|_| None, give_up.clone(), "needs a reason"),
        (|_| None, give_up.because("enough"), "not stuck"),
    ];
    for (step, operate, expected) in cases {
        let trips = Trips::new();
        trips.plan(7);
        let before = trips.trip(7);
        let operate = step(&before).map_or(operate, |step| skips(&step));
        trips.operate("o-1", &operate);
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
