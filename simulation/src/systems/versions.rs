//! One endpoint whose code goes forward and back a version, with state of both in its store.

use std::collections::BTreeMap;
use std::time::Duration;

use longhaul_core::Command;
use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::handler::{Context, Handler, HandlerResult};
use longhaul_sagas::{Definition, Outcome, Saga, SagaContext, SagaEndpoint};
use serde::{Deserialize, Serialize};

use super::persistent;
use crate::effects::Effects;
use crate::outside::Outside;
use crate::simulation::Simulation;
use crate::workload::Workload;
use crate::world::World;

/// How often each ticket is worked on.
const ROUNDS: usize = 3;
/// After how long a ticket is looked at.
const REMINDER: Duration = Duration::from_secs(20);
/// For how long a ticket is open at least.
const CLOSING: Duration = Duration::from_secs(900);

/// The first that comes opens the ticket. It ends with the last, so that none can open it again.
#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.work_on_ticket.v1")]
struct WorkOnTicket {
    ticket: u64,
    round: u64,
}

/// What a ticket says at its end.
#[derive(Debug, Clone, PartialEq, Eq, Command, Serialize, Deserialize)]
#[message("sim.file_ticket.v1")]
struct FileTicket {
    ticket: u64,
    rounds: Vec<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Due {
    Reminder,
    Close,
}

/// A ticket as the first version keeps it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketV1 {
    ticket: u64,
    /// With commas between them.
    rounds: String,
    is_due: bool,
}

/// A ticket as the second version keeps it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketV2 {
    ticket: u64,
    rounds: Vec<u64>,
    is_due: bool,
    reminders: u32,
}

impl Saga for TicketV1 {
    const NAME: &'static str = "sim-ticket";
    type Id = u64;
    type Timeout = Due;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |m: &WorkOnTicket| m.ticket,
            |m, ctx| {
                let mut new = Self::new(m.ticket, ctx);
                new.on_work(m, ctx).map(|()| new)
            },
        );
        saga.handles(|m: &WorkOnTicket| m.ticket, Self::on_work);
        saga.times_out(Self::on_due);
    }
}

impl TicketV1 {
    fn new(ticket: u64, ctx: &mut SagaContext<Self>) -> Self {
        ctx.request_timeout(REMINDER, Due::Reminder);
        ctx.request_timeout(CLOSING, Due::Close);
        Self {
            ticket,
            ..Self::default()
        }
    }

    fn on_work(&mut self, work: WorkOnTicket, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.rounds.push_str(&format!("{},", work.round));
        self.file(ctx);
        Ok(())
    }

    fn on_due(&mut self, due: Due, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.is_due |= matches!(due, Due::Close);
        self.file(ctx);
        Ok(())
    }

    fn file(&self, ctx: &mut SagaContext<Self>) {
        let rounds = read_rounds(&self.rounds);
        if self.is_due && rounds.len() >= ROUNDS {
            ctx.send(FileTicket {
                ticket: self.ticket,
                rounds,
            });
            ctx.complete();
        }
    }
}

impl Saga for TicketV2 {
    const NAME: &'static str = TicketV1::NAME;
    const VERSION: u32 = 2;
    type Id = u64;
    type Timeout = Due;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |m: &WorkOnTicket| m.ticket,
            |m, ctx| {
                let mut new = Self::new(m.ticket, ctx);
                new.on_work(m, ctx).map(|()| new)
            },
        );
        saga.handles(|m: &WorkOnTicket| m.ticket, Self::on_work);
        saga.times_out(Self::on_due);
        saga.evolve(1, |old: TicketV1| Self {
            ticket: old.ticket,
            rounds: read_rounds(&old.rounds),
            is_due: old.is_due,
            reminders: 0,
        });
    }
}

impl TicketV2 {
    fn new(ticket: u64, ctx: &mut SagaContext<Self>) -> Self {
        ctx.request_timeout(REMINDER, Due::Reminder);
        ctx.request_timeout(CLOSING, Due::Close);
        Self {
            ticket,
            ..Self::default()
        }
    }

    fn on_work(&mut self, work: WorkOnTicket, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.rounds.push(work.round);
        self.file(ctx);
        Ok(())
    }

    fn on_due(&mut self, due: Due, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match due {
            Due::Reminder => self.reminders += 1,
            Due::Close => self.is_due = true,
        }
        self.file(ctx);
        Ok(())
    }

    fn file(&self, ctx: &mut SagaContext<Self>) {
        if self.is_due && self.rounds.len() >= ROUNDS {
            ctx.send(FileTicket {
                ticket: self.ticket,
                rounds: self.rounds.clone(),
            });
            ctx.complete();
        }
    }
}

fn read_rounds(text: &str) -> Vec<u64> {
    text.split(',').filter_map(|round| round.parse().ok()).collect()
}

/// Takes what is filed.
struct Archive;

impl Handler<FileTicket> for Archive {
    async fn handle(&self, _: FileTicket, _: &mut Context) -> HandlerResult {
        Ok(())
    }
}

/// So many tickets at a desk that is deployed anew whenever it starts again; `is_shared`: by two processes, each with a
/// version of its own.
pub fn versions(tickets: u64, is_shared: bool) -> Simulation {
    let mut workload = Workload::new();
    for round in 0..ROUNDS as u64 {
        let worked = (0..tickets).map(|ticket| WorkOnTicket { ticket, round });
        workload = workload.after(Duration::from_secs(15)).send_each("desk", worked);
    }
    let desk = |endpoint: EndpointBuilder| endpoint.route::<FileTicket>("archive");
    let world = move |world: World| {
        world
            .endpoint("desk", move |endpoint, _| desk(endpoint).saga::<TicketV1>())
            .then(move |endpoint, _| desk(endpoint).saga::<TicketV2>())
            .instances(1 + u8::from(is_shared))
            .storeless("archive", |endpoint: EndpointBuilder, _: &Outside| {
                endpoint
                    .retries(persistent())
                    .idempotent_handler::<FileTicket>(Archive)
            })
    };
    Simulation::of(world)
        .workload(workload)
        .invariant(
            "newer state is never overwritten by an older version",
            |effects: &Effects| never_back(&states(effects)),
        )
        .invariant(
            "each ticket is filed once, with everything in it",
            |effects: &Effects| {
                filed(&asked(effects), &effects.messages(), |ticket| {
                    effects
                        .instance::<TicketV2>("desk", &ticket)
                        .and_then(|instance| instance.outcome)
                })
            },
        )
        .invariant("nothing fails for good", super::nothing_failed)
}

/// The tickets for which all rounds were asked.
fn asked(effects: &Effects) -> Vec<u64> {
    let mut rounds: BTreeMap<u64, usize> = BTreeMap::new();
    for work in effects.messages::<WorkOnTicket>() {
        *rounds.entry(work.ticket).or_default() += 1;
    }
    let whole = rounds.into_iter().filter(|(_, rounds)| *rounds == ROUNDS);
    whole.map(|(ticket, _)| ticket).collect()
}

/// The version of the state that each unit left, by ticket; `None` for one that has ended.
fn states(effects: &Effects) -> Vec<(String, Option<u32>)> {
    let units = effects.history("desk");
    let changes = units.flat_map(|unit| unit.changed::<TicketV2>());
    changes
        .map(|(ticket, instance)| (ticket, instance.state_version))
        .collect()
}

/// The version of a ticket only grows, and one that has ended does not change any more.
fn never_back(states: &[(String, Option<u32>)]) -> Result<(), String> {
    let mut last: BTreeMap<&str, Option<u32>> = BTreeMap::new();
    for (ticket, version) in states {
        let before = last.insert(ticket, *version);
        match (before, version) {
            (Some(None), _) => return Err(format!("ticket {ticket} changed after its end")),
            (Some(Some(before)), Some(version)) if *version < before => {
                return Err(format!(
                    "ticket {ticket} was of version {before}, and then of version {version}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Each ticket has ended and is filed once, with every round once.
fn filed(
    asked: &[u64],
    filed: &[FileTicket],
    outcome: impl Fn(u64) -> Option<Outcome>,
) -> Result<(), String> {
    for &ticket in asked {
        let mut of_ticket = filed.iter().filter(|filed| filed.ticket == ticket);
        let (first, second) = (of_ticket.next(), of_ticket.next());
        let mut rounds = first.map(|filed| filed.rounds.clone()).unwrap_or_default();
        rounds.sort_unstable();
        let is_whole = rounds.iter().copied().eq(0..ROUNDS as u64);
        if !is_whole || second.is_some() || outcome(ticket) != Some(Outcome::Completed) {
            return Err(format!(
                "ticket {ticket} ended as {:?}, and is filed as {first:?}, then as {second:?}",
                outcome(ticket)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::What;

    #[test]
    fn when_versions_alternate_an_older_one_meets_newer_state_and_it_is_replayed() {
        let is_replayed = |seed| {
            let events = versions(4, false).draw(seed).trace.events;
            events
                .into_iter()
                .any(|event| matches!(event.what, What::Replayed { .. }))
        };
        assert!((0..200).any(is_replayed));
    }

    #[test]
    fn when_newer_state_is_overwritten_or_an_end_it_is_found() {
        let states = |versions: &[Option<u32>]| {
            let of_ticket = versions.iter().map(|version| (String::from("7"), *version));
            of_ticket.collect::<Vec<_>>()
        };
        assert_eq!(never_back(&states(&[Some(1), Some(2), Some(2), None])), Ok(()));
        assert!(never_back(&states(&[Some(2), Some(1)])).is_err());
        assert!(never_back(&states(&[Some(1), None, Some(1)])).is_err());
    }

    #[test]
    fn when_a_ticket_is_not_filed_or_not_whole_or_twice_it_is_found() {
        let file = |rounds: &[u64]| FileTicket {
            ticket: 0,
            rounds: rounds.to_vec(),
        };
        let completed = |_| Some(Outcome::Completed);
        let check = |all: &[FileTicket]| filed(&[0], all, completed);
        assert_eq!(check(&[file(&[2, 0, 1])]), Ok(()));
        assert!(check(&[]).is_err());
        assert!(check(&[file(&[0, 1])]).is_err());
        assert!(check(&[file(&[0, 1, 1, 2])]).is_err());
        assert!(check(&[file(&[0, 1, 2]), file(&[0, 1, 2])]).is_err());
        assert!(filed(&[0], &[file(&[0, 1, 2])], |_| None).is_err());
    }
}
