//! Rooms that are taken again and again: ids that are reused when what was known of them is forgotten.

use std::time::Duration;

use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::handler::{Context, Handler, HandlerError, HandlerResult};
use longhaul_core::reason::Reason;
use longhaul_core::recoverability::RetryPolicy;
use longhaul_core::{Command, Message};
use longhaul_sagas::{Definition, Saga, SagaContext, SagaEndpoint};
use serde::{Deserialize, Serialize};

use super::persistent;
use crate::effects::Effects;
use crate::faults::{FaultKind, Faults};
use crate::outside::Outside;
use crate::simulation::Simulation;
use crate::workload::Workload;

/// How often each room is taken.
const STAYS: u64 = 3;
/// How long a stay is.
const STAY: Duration = Duration::from_secs(10);
/// For how long ids and stays that are over are known: for less than messages may be late.
const RETENTION: Duration = Duration::from_secs(40);
/// When a room is taken again: the last stay is forgotten by then, as a rule.
const AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.check_in.v1")]
struct CheckIn {
    room: u64,
    guest: u64,
}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.clean_room.v1")]
struct CleanRoom {
    guest: u64,
}

#[derive(Debug, Clone, Copy, Message, Serialize, Deserialize)]
#[message("sim.room_cleaned.v1")]
struct RoomCleaned {
    guest: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct CheckOut {
    guest: u64,
}

/// One stay in a room.
#[derive(Debug, Serialize, Deserialize)]
struct Room {
    guest: u64,
}

impl Saga for Room {
    const NAME: &'static str = "sim-room";
    type Id = u64;
    type Timeout = CheckOut;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |m: &CheckIn| m.room,
            |CheckIn { guest, .. }, ctx| {
                ctx.send(CleanRoom { guest });
                ctx.request_timeout(STAY, CheckOut { guest });
                Ok(Self { guest })
            },
        );
        // Whoever comes while somebody is there goes again.
        saga.handles(|m: &CheckIn| m.room, |_, _, _| Ok(()));
        saga.on_reply(
            |room: &mut Self, cleaned: RoomCleaned, _: &mut SagaContext<Self>| room.is_of(cleaned.guest),
        );
        saga.times_out(|room, out, ctx| {
            ctx.complete();
            room.is_of(out.guest)
        });
    }
}

impl Room {
    fn is_of(&self, guest: u64) -> HandlerResult {
        if guest == self.guest {
            return Ok(());
        }
        Err(HandlerError::permanent(format!(
            "take what is for guest {guest}: it is {} who is here",
            self.guest
        )))
    }
}

struct Cleaning;

impl Handler<CleanRoom> for Cleaning {
    async fn handle(&self, clean: CleanRoom, ctx: &mut Context) -> HandlerResult {
        ctx.reply(RoomCleaned { guest: clean.guest });
        Ok(())
    }
}

fn hotel(endpoint: EndpointBuilder, _: &Outside) -> EndpointBuilder {
    endpoint
        .saga::<Room>()
        .route::<CleanRoom>("cleaning")
        .settings(|settings| {
            settings.retention = RETENTION;
            settings.purge_interval = Duration::from_secs(10);
            settings.retries = RetryPolicy {
                immediate: 1,
                delayed: 2,
                first_delay: Duration::from_secs(1),
                longest_delay: Duration::from_secs(2),
                give_up_after: Duration::from_secs(20),
                jitter: true,
            };
        })
}

/// So many rooms, each taken several times, in a hotel that soon forgets: no stay is touched by what was for an earlier one.
pub fn rooms(count: u64) -> Simulation {
    let mut workload = Workload::new();
    for stay in 0..STAYS {
        let came = (0..count).map(|room| CheckIn {
            room,
            guest: room * STAYS + stay,
        });
        workload = workload.send_each("hotel", came).after(AGAIN);
    }
    Simulation::of(|world| {
        world
            .endpoint("hotel", hotel)
            .storeless("cleaning", |endpoint, _| {
                endpoint
                    .retries(persistent())
                    .idempotent_handler::<CleanRoom>(Cleaning)
            })
    })
    .workload(workload)
    // With clocks that differ, what is forgotten may not be too old elsewhere.
    .faults(Faults::all().without(FaultKind::Clock))
    .invariant(
        "no stay is touched by what was for another",
        |effects: &Effects| only_late(effects.reasons()),
    )
    .invariant("each stay ends once at most", |effects: &Effects| {
        ended(stays(effects), effects.messages::<CheckIn>().len())
    })
}

/// What comes too late may fail, and nothing else.
fn only_late<'a>(mut reasons: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let late = [Reason::TooOld.as_str(), Reason::NotFound.as_str()];
    match reasons.find(|reason| !late.contains(reason)) {
        Some(reason) => Err(format!("a message failed with {reason}")),
        None => Ok(()),
    }
}

/// How many stays have ended.
fn stays(effects: &Effects) -> usize {
    let units = effects.history("hotel");
    let changes = units.flat_map(|unit| unit.changed::<Room>());
    changes.filter(|(_, room)| room.outcome.is_some()).count()
}

fn ended(ends: usize, asked: usize) -> Result<(), String> {
    if ends > asked {
        return Err(format!("{ends} stays have ended, and {asked} were asked for"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_room_is_taken_again_a_new_stay_begins() {
        let quiet = rooms(2).faults(Faults::none());
        assert_eq!(stays(&quiet.draw(0).effects), 6);
    }

    #[test]
    fn when_a_message_is_later_than_ids_are_known_it_is_too_old() {
        let is_there = |seed| {
            let effects = rooms(3).draw(seed).effects;
            effects.reasons().any(|reason| reason == Reason::TooOld.as_str())
        };
        assert!((0..200).any(is_there));
    }

    #[test]
    fn when_something_else_fails_or_a_stay_ends_twice_it_is_found() {
        assert_eq!(only_late([Reason::TooOld.as_str()].into_iter()), Ok(()));
        assert!(only_late(["handler-failed"].into_iter()).is_err());
        assert!(ended(2, 1).is_err());
    }
}
