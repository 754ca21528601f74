//! Trips whose undo is refused, and an operator who ends them, has steps tried again, and gives up.

use std::collections::BTreeSet;
use std::time::Duration;

use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::handler::{Context, Handler, HandlerResult};
use longhaul_core::message::MessageKind;
use longhaul_core::reason::Reason;
use longhaul_core::{Command, Message};
use longhaul_sagas::control::{Action, Operate};
use longhaul_sagas::{CompensationPolicy, Definition, Instance, NoTimeout, Saga, SagaContext, SagaEndpoint};
use serde::{Deserialize, Serialize};

use super::persistent;
use crate::effects::Effects;
use crate::outside::Outside;
use crate::simulation::Simulation;
use crate::workload::Workload;

/// Between what the operator wants.
const LATER: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.plan_trip.v1")]
struct PlanTrip {
    trip: u64,
}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.book_hotel.v1")]
struct BookHotel {
    trip: u64,
}

#[derive(Debug, Clone, Copy, Message, Serialize, Deserialize)]
#[message("sim.hotel_booked.v1")]
struct HotelBooked {
    trip: u64,
}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.cancel_hotel.v1")]
struct CancelHotel {
    trip: u64,
}

#[derive(Debug, Clone, Copy, Message, Serialize, Deserialize)]
#[message("sim.hotel_cancelled.v1")]
struct HotelCancelled {
    trip: u64,
}

#[derive(Debug, Clone, Copy, Message, Serialize, Deserialize)]
#[message("sim.hotel_not_cancelled.v1")]
struct HotelNotCancelled {
    trip: u64,
}

/// What the operator says: its type follows from the saga's name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Tell(Operate);

impl longhaul_core::message::Message for Tell {
    const NAME: &'static str = "longhaul.operate.sim-trip";
    const KIND: MessageKind = MessageKind::Command;
}

impl longhaul_core::message::Command for Tell {}

/// A trip with two bookings.
#[derive(Debug, Serialize, Deserialize)]
struct Trip;

impl Saga for Trip {
    const NAME: &'static str = "sim-trip";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |m: &PlanTrip| m.trip,
            |PlanTrip { trip }, ctx: &mut SagaContext<Self>| {
                for _ in 0..2 {
                    ctx.send(BookHotel { trip })
                        .undo_with(CancelHotel { trip })
                        .done_by::<HotelBooked>()
                        .undone_by::<HotelCancelled>();
                }
                Ok(Self)
            },
        );
        saga.expects::<HotelBooked>();
        saga.expects::<HotelCancelled>();
        saga.expects::<HotelNotCancelled>();
        saga.compensation(CompensationPolicy {
            undo_attempts: 1,
            ..CompensationPolicy::default()
        });
    }
}

struct Hotel(Outside);

impl Handler<BookHotel> for Hotel {
    async fn handle(&self, book: BookHotel, ctx: &mut Context) -> HandlerResult {
        ctx.reply(HotelBooked { trip: book.trip });
        Ok(())
    }
}

impl Handler<CancelHotel> for Hotel {
    /// Of trip 0, 3, 6, … nothing can be cancelled; of the others, whatever was asked for at least twice.
    async fn handle(&self, cancel: CancelHotel, ctx: &mut Context) -> HandlerResult {
        let CancelHotel { trip } = cancel;
        let about = trip.to_string();
        self.0.once("asked", &about, 1, ctx.idempotency_key()).await?;
        let asked = self.0.done("asked", &about).await?.len();
        if trip % 3 == 0 || asked < 2 {
            ctx.reply(HotelNotCancelled { trip });
        } else {
            ctx.reply(HotelCancelled { trip });
        }
        Ok(())
    }
}

/// So many trips that an operator ends, has tried again, and gives up: whatever goes wrong, each thing is done once at most.
pub fn operators(count: u64) -> Simulation {
    let tell = |trip: u64, action: &Action| {
        Tell(Operate::new(trip.to_string(), action.clone(), "operator").because("it is a simulation"))
    };
    let mut workload = Workload::new()
        .send_each("trips", (0..count).map(|trip| PlanTrip { trip }))
        .after(LATER);
    for action in [
        Action::Compensate,
        Action::RetryStep { step: None },
        Action::RetryStep { step: None },
        Action::GiveUp,
    ] {
        let all = (0..count).map(|trip| tell(trip, &action));
        workload = workload.send_each("trips", all).after(LATER);
    }
    Simulation::of(|world| {
        world
            .endpoint("trips", |endpoint: EndpointBuilder, _: &Outside| {
                endpoint
                    .operable_saga::<Trip>()
                    .route::<BookHotel>("hotel")
                    .route::<CancelHotel>("hotel")
            })
            .storeless("hotel", |endpoint, outside| {
                endpoint
                    .retries(persistent())
                    .idempotent_handler::<BookHotel>(Hotel(outside.clone()))
                    .idempotent_handler::<CancelHotel>(Hotel(outside.clone()))
            })
    })
    .workload(workload)
    .invariant(
        "what an operator wants is done once at most",
        |effects: &Effects| effects.instances::<Trip>("trips").iter().try_for_each(done_once),
    )
    .invariant("each trip ends once at most", |effects: &Effects| {
        let units = effects.history("trips");
        let changes = units.flat_map(|unit| unit.changed::<Trip>());
        let ended = changes.filter(|(_, trip)| trip.outcome.is_some());
        let mut ends = BTreeSet::new();
        for (id, _) in ended {
            if !ends.insert(id.clone()) {
                return Err(format!("trip {id} has ended twice"));
            }
        }
        Ok(())
    })
    .invariant("only what comes too late is refused", |effects: &Effects| {
        only_refused(effects.reasons())
    })
}

fn done_once(trip: &Instance) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for event in &trip.history.events {
        if event.from.as_deref() == Some("operator") && !seen.insert(event.message.clone()) {
            return Err(format!("{} was done twice", event.what));
        }
    }
    Ok(())
}

fn only_refused<'a>(mut reasons: impl Iterator<Item = &'a str>) -> Result<(), String> {
    match reasons.find(|reason| *reason != Reason::HandlerFailed.as_str()) {
        Some(reason) => Err(format!("a message failed with {reason}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use longhaul_sagas::Outcome;

    use super::*;
    use crate::faults::Faults;

    #[test]
    fn when_nothing_goes_wrong_trips_are_undone_after_retries_or_given_up() {
        let quiet = operators(3).faults(Faults::none()).draw(0).effects;
        let outcome = |trip: u64| {
            let instance = quiet.instance::<Trip>("trips", &trip);
            instance.and_then(|instance| instance.outcome)
        };
        assert_eq!(outcome(0), Some(Outcome::GivenUp));
        assert_eq!(outcome(1), Some(Outcome::Compensated));
        assert_eq!(outcome(2), Some(Outcome::Compensated));
    }

    #[test]
    fn when_something_is_done_twice_or_fails_otherwise_it_is_found() {
        let quiet = operators(1).faults(Faults::none()).draw(0).effects;
        let mut trip = quiet.instance::<Trip>("trips", &0).expect("a trip");
        assert_eq!(done_once(&trip), Ok(()));
        let events = &mut trip.history.events;
        events.extend(events.clone());
        assert!(done_once(&trip).is_err());
        assert!(only_refused(["unknown-type"].into_iter()).is_err());
    }
}
