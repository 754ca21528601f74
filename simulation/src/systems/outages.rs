//! A third party that fails, behind a circuit breaker, and journals that keep their order behind an entry that was refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longhaul_core::Command;
use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::handler::{Context, Handler, HandlerError, HandlerResult};
use longhaul_core::recoverability::{BreakerPolicy, Limit};
use longhaul_core::store::InboxState;
use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext, SagaEndpoint};
use serde::{Deserialize, Serialize};

use super::persistent;
use crate::effects::Effects;
use crate::outside::Outside;
use crate::random::Random;
use crate::simulation::Simulation;
use crate::workload::Workload;
use crate::world::World;

/// An entry for a journal; the first version of the code refuses some.
#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.write_entry.v1")]
struct WriteEntry {
    journal: u64,
    entry: u64,
    is_new: bool,
}

/// What is printed of each entry.
#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.print_entry.v1")]
struct PrintEntry {
    entry: u64,
}

/// The entries of a journal, by a version that can write new ones, or by one that can't.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Journal<const WRITES_NEW: bool> {
    entries: Vec<u64>,
}

impl<const WRITES_NEW: bool> Saga for Journal<WRITES_NEW> {
    const NAME: &'static str = "sim-journal";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.keep_order();
        saga.starts_on(
            |m: &WriteEntry| m.journal,
            |m, ctx| {
                let mut journal = Self::default();
                journal.write(m, ctx).map(|()| journal)
            },
        );
        saga.handles(|m: &WriteEntry| m.journal, Self::write);
    }
}

impl<const WRITES_NEW: bool> Journal<WRITES_NEW> {
    fn write(&mut self, write: WriteEntry, ctx: &mut SagaContext<Self>) -> HandlerResult {
        if write.is_new && !WRITES_NEW {
            return Err(HandlerError::permanent(
                "write the entry: it is of a kind that is not known yet",
            ));
        }
        self.entries.push(write.entry);
        ctx.send(PrintEntry { entry: write.entry });
        Ok(())
    }
}

/// Prints, as far as the printer does.
struct Printer(Outside);

impl Handler<PrintEntry> for Printer {
    fn depends_on(&self) -> Option<&str> {
        Some("printer")
    }

    async fn handle(&self, print: PrintEntry, ctx: &mut Context) -> HandlerResult {
        let entry = print.entry.to_string();
        let printed = self.0.once("print", &entry, 0, ctx.idempotency_key()).await;
        printed.map_err(HandlerError::transient)
    }
}

/// So many entries for a few journals, with everything that can go wrong, and an operator who replays at the end what was
/// refused.
pub fn outages(entries: u64) -> Simulation {
    let mut random = Random::new(entries);
    let writes = (0..entries).map(|entry| WriteEntry {
        journal: random.below(1 + entries / 4),
        entry,
        is_new: random.below(4) == 0,
    });
    let writes: Vec<_> = writes.collect();
    let printing = |endpoint: EndpointBuilder, outside: &Outside| {
        let eager = BreakerPolicy {
            failures: 1,
            probe_delay: Duration::from_secs(5),
        };
        endpoint
            .handler::<PrintEntry>(Printer(outside.clone()))
            .breaker("printer", eager)
            .limit::<PrintEntry>(Limit::none().at_once(2).rate(3, Duration::from_secs(1)))
            .prefetch(4)
            .concurrency(4)
            .retries(persistent())
    };
    let world = move |world: World| {
        world
            .endpoint("journals", |endpoint, _| {
                endpoint.saga::<Journal<false>>().route::<PrintEntry>("printing")
            })
            .then(|endpoint, _| endpoint.saga::<Journal<true>>().route::<PrintEntry>("printing"))
            .replayed()
            .endpoint("printing", printing)
    };
    Simulation::of(world)
        .workload(Workload::new().send_each("journals", writes))
        .invariant(
            "each entry is written once, and printed once",
            |effects: &Effects| written_once(effects),
        )
        .invariant("nothing overtakes what was refused", |effects: &Effects| {
            in_order(&changes(effects))
        })
        .invariant("nothing fails for good", super::nothing_failed)
}

fn written_once(effects: &Effects) -> Result<(), String> {
    let asked: BTreeSet<u64> = effects.messages::<WriteEntry>().iter().map(|m| m.entry).collect();
    let journals = effects.instances::<Journal<true>>("journals").into_iter();
    let mut written: Vec<u64> = journals
        .filter_map(|journal| serde_json::from_str::<Journal<true>>(&journal.state?).ok())
        .flat_map(|journal| journal.entries)
        .collect();
    written.sort_unstable();
    if written != asked.iter().copied().collect::<Vec<_>>() {
        return Err(format!("asked for {asked:?}, and {written:?} are written"));
    }
    let other = asked
        .into_iter()
        .find(|entry| effects.count("print", &entry.to_string()) != 1);
    other.map_or(Ok(()), |entry| {
        let times = effects.count("print", &entry.to_string());
        Err(format!("entry {entry} was printed {times} times"))
    })
}

/// What became of an entry of a journal.
#[derive(Debug, Clone, Copy)]
struct Change {
    journal: u64,
    entry: u64,
    is_refused: bool,
}

fn changes(effects: &Effects) -> Vec<Change> {
    let writes: BTreeMap<_, _> = effects
        .sent()
        .filter_map(|sent| Some((sent.id().clone(), sent.read::<WriteEntry>()?)))
        .collect();
    let units = effects.history("journals");
    let changes = units.flat_map(|unit| unit.inbox().to_vec()).filter_map(|change| {
        let write = writes.get(&change.id)?;
        let is_refused = match change.next? {
            InboxState::Failed { .. } => true,
            InboxState::Done => false,
            InboxState::Scheduled { .. } | InboxState::Started { .. } => return None,
        };
        Some(Change {
            journal: write.journal,
            entry: write.entry,
            is_refused,
        })
    });
    changes.collect()
}

/// While an entry of a journal is refused no other one is written.
fn in_order(changes: &[Change]) -> Result<(), String> {
    let mut refused: BTreeMap<u64, u64> = BTreeMap::new();
    for change in changes {
        match refused.get(&change.journal) {
            Some(first) if *first != change.entry => {
                return Err(format!(
                    "entry {} of journal {} came while entry {first} was refused",
                    change.entry, change.journal
                ));
            }
            _ if change.is_refused => drop(refused.insert(change.journal, change.entry)),
            _ => drop(refused.remove(&change.journal)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_an_entry_overtakes_one_that_was_refused_it_is_found() {
        let change = |journal, entry, is_refused| Change {
            journal,
            entry,
            is_refused,
        };
        let (refused, other) = (change(1, 1, true), change(2, 2, false));
        assert_eq!(
            in_order(&[refused, other, refused, change(1, 1, false), change(1, 3, false)]),
            Ok(())
        );
        assert!(in_order(&[refused, change(1, 3, false)]).is_err());
        assert!(in_order(&[refused, change(1, 3, true)]).is_err());
    }

    #[test]
    fn when_faults_are_drawn_entries_wait_and_are_replayed_and_breakers_open() {
        let mut parked = 0;
        for seed in 0..40 {
            let effects = outages(8).draw(seed).effects;
            parked += effects.history("journals").filter(|unit| unit.parks()).count();
        }
        assert!(parked > 40, "{parked} entries waited");
    }
}
