//! Faults made on purpose in the runtime: a simulator that does not find them proves nothing.

use longhaul_simulation::{Mutant, Simulation, mutate, systems};

/// The most schedules that one may take to find.
const MOST: u64 = 20_000;

/// Alone and contended by turns, with orders that every path of the system is taken for; what is about breakers and order
/// behind a failure has a system of its own.
fn system(mutant: Mutant, seed: u64) -> Simulation {
    if matches!(
        mutant,
        Mutant::OrderForgotten | Mutant::NextForgotten | Mutant::BreakerStuck
    ) {
        return systems::outages(8);
    }
    if (seed / 2).is_multiple_of(2) {
        systems::orders(8)
    } else {
        systems::contended_orders(8)
    }
}

#[test]
fn every_mutant_is_caught() {
    let mut missed = Vec::new();
    println!("{:<24} {:>9}  broken", "mutant", "schedules");
    for mutant in Mutant::ALL {
        let caught = (0..MOST).find_map(|seed| {
            mutate(Some(mutant));
            let broken = system(mutant, seed).breaks(seed);
            mutate(None);
            // What breaks without it was not caught.
            let is_sound = || system(mutant, seed).breaks(seed).is_none();
            broken.filter(|_| is_sound()).map(|broken| (seed + 1, broken))
        });
        match caught {
            Some((schedules, broken)) => println!("{:<24} {schedules:>9}  {broken}", format!("{mutant:?}")),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not caught in {MOST} schedules: {missed:?}");
}
