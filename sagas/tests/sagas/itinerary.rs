//! A linear process written as a list.

use std::time::Duration;

use longhaul_core::handler::HandlerResult;
use longhaul_core::{Command, Event, Message};
use longhaul_sagas::{Itinerary, Journey, SagaContext, Status, Steps};
use longhaul_testing::scenario::Scenario;
use serde::{Deserialize, Serialize};

macro_rules! commands {
    ($($command:ident = $name:literal),+) => {$(
        #[derive(Command, Serialize, Deserialize)]
        #[message($name)]
        struct $command { trip: u64 }
    )+};
}

commands!(
    BookTrip = "trips.book_trip.v1",
    BookFlight = "flights.book_flight.v1",
    CancelFlight = "flights.cancel_flight.v1",
    BookHotel = "hotels.book_hotel.v1",
    CancelHotel = "hotels.cancel_hotel.v1",
    TellFriends = "friends.tell.v1"
);

#[derive(Message, Serialize, Deserialize)]
#[message("flights.flight_booked.v1")]
struct FlightBooked {
    seat: String,
}

#[derive(Message, Serialize, Deserialize)]
#[message("flights.flight_cancelled.v1")]
struct FlightCancelled;

#[derive(Message, Serialize, Deserialize)]
#[message("hotels.hotel_booked.v1")]
struct HotelBooked;

#[derive(Message, Serialize, Deserialize)]
#[message("hotels.hotel_full.v1")]
struct HotelFull;

#[derive(Event, Serialize, Deserialize)]
#[message("trips.trip_booked.v1")]
struct TripBooked {
    seat: String,
}

#[derive(Event, Serialize, Deserialize)]
#[message("trips.trip_failed.v1")]
struct TripFailed {
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct Trip {
    trip: u64,
    seat: String,
}

impl Itinerary for Trip {
    const NAME: &'static str = "trip";
    type Id = u64;
    type Start = BookTrip;

    fn id(start: &BookTrip) -> u64 {
        start.trip
    }

    fn begin(start: BookTrip) -> Self {
        Self {
            trip: start.trip,
            seat: String::new(),
        }
    }

    fn steps(steps: &mut Steps<Self>) {
        steps
            .step("flight", |trip: &Self| BookFlight { trip: trip.trip })
            .undo_with(|trip| CancelFlight { trip: trip.trip })
            .done_by(|trip, booked: FlightBooked| trip.seat = booked.seat)
            .undone_by::<FlightCancelled>()
            .within(Duration::from_secs(60));
        steps.step("friends", |trip| TellFriends { trip: trip.trip });
        steps
            .step("hotel", |trip| BookHotel { trip: trip.trip })
            .undo_with(|trip| CancelHotel { trip: trip.trip })
            .done_by(|_, _: HotelBooked| {})
            .refused_by::<HotelFull>();
    }

    fn arrived(&mut self, ctx: &mut SagaContext<Journey<Self>>) -> HandlerResult {
        ctx.publish(TripBooked {
            seat: self.seat.clone(),
        });
        Ok(())
    }

    fn turned_back(&mut self, ctx: &mut SagaContext<Journey<Self>>) -> HandlerResult {
        let reason = ctx.compensation_reason().unwrap_or_default().to_owned();
        ctx.publish(TripFailed { reason });
        Ok(())
    }
}

fn seat() -> FlightBooked {
    FlightBooked {
        seat: "12A".to_owned(),
    }
}

#[test]
fn when_every_step_is_answered_the_next_is_sent_until_it_arrives() {
    Scenario::<Journey<Trip>>::new()
        .when(BookTrip { trip: 1 })
        .then_sent::<BookFlight>(|book| assert_eq!(book.trip, 1))
        .then_nothing_sent()
        .when_reply::<BookFlight>(seat())
        .then_sent::<TellFriends>(|_| {})
        .then_sent::<BookHotel>(|_| {})
        .then_nothing_sent()
        .then_no_timeout_pending()
        .when_reply::<BookHotel>(HotelBooked)
        .then_published::<TripBooked>(|booked| assert_eq!(booked.seat, "12A"))
        .then_completed();
}

#[test]
fn when_a_step_is_refused_those_before_it_are_undone() {
    Scenario::<Journey<Trip>>::new()
        .given(BookTrip { trip: 1 })
        .when_reply::<BookFlight>(seat())
        .when_reply::<BookHotel>(HotelFull)
        .then_sent::<CancelFlight>(|_| {})
        .then_nothing_sent()
        .when_reply::<CancelFlight>(FlightCancelled)
        .then_published::<TripFailed>(|failed| assert_eq!(failed.reason, "hotel: hotels.hotel_full.v1"))
        .then_compensated();
}

#[test]
fn when_a_step_is_not_answered_in_time_it_turns_back_and_a_late_answer_is_undone() {
    Scenario::<Journey<Trip>>::new()
        .given(BookTrip { trip: 1 })
        .advance(Duration::from_secs(60))
        .then_status(Status::Compensating)
        .when_reply::<BookFlight>(seat())
        .then_sent::<CancelFlight>(|_| {})
        .when_reply::<CancelFlight>(FlightCancelled)
        .then_published::<TripFailed>(|failed| assert_eq!(failed.reason, "flight: not answered in time"))
        .then_compensated();
}

#[test]
fn when_a_step_was_answered_in_time_its_deadline_does_nothing() {
    Scenario::<Journey<Trip>>::new()
        .given(BookTrip { trip: 1 })
        .when_reply::<BookFlight>(seat())
        .advance(Duration::from_secs(3600))
        .then_nothing_changed()
        .then_status(Status::Active);
}

#[test]
fn when_a_step_is_answered_twice_the_second_answer_does_nothing() {
    Scenario::<Journey<Trip>>::new()
        .given(BookTrip { trip: 1 })
        .when_reply::<BookFlight>(seat())
        .when_reply::<BookFlight>(seat())
        .then_nothing_changed();
}
