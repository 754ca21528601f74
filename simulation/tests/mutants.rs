//! Faults made on purpose in the runtime: a simulator that does not find them proves nothing.

use longhaul_simulation::{Mutant, Personality, Simulation, mutate, systems};

/// The most schedules that one may take to find.
const MOST: u64 = 20_000;

/// Alone and contended by turns, with orders that every path of the system is taken for; moved timeouts, and breakers and order
/// behind a failure, have systems of their own.
fn system(mutant: Mutant, seed: u64) -> Simulation {
    match mutant {
        Mutant::AlarmTooEarly | Mutant::TimeoutGoneWithAlarm | Mutant::MoveOverridden => systems::alarms(8),
        Mutant::OrderForgotten | Mutant::NextForgotten | Mutant::BreakerStuck => systems::outages(8),
        Mutant::CopiesAlike => systems::outages(8).on(Personality::SqsFifo),
        _ if (seed / 2).is_multiple_of(2) => systems::orders(8),
        _ => systems::contended_orders(8),
    }
}

/// The rules and invariants any of which is to find it.
fn finders(mutant: Mutant) -> &'static [&'static str] {
    match mutant {
        Mutant::AckBeforeCommit
        | Mutant::CommitNotSynced
        | Mutant::ErrorAckFirst
        | Mutant::AttemptsForgotten => &["an acknowledgement comes after a durable commit"],
        Mutant::MarkBeforeConfirm | Mutant::ConfirmOfAnother | Mutant::PartialFailureIgnored => {
            &["what is marked as sent was confirmed"]
        }
        Mutant::InboxApart => &["effects are committed together with their inbox entry"],
        Mutant::InboxIgnored => &["a message is committed at most once"],
        Mutant::NewIdOnResend => &["nothing leaves before its commit is durable"],
        Mutant::AlarmTooEarly => &["a timeout never fires early"],
        Mutant::UndoneForward => &["what was done last is undone first"],
        Mutant::VersionIgnored => &["versions of a record form a chain"],
        Mutant::EndOfConsumerIgnored | Mutant::RelayOff => &["everything comes to rest"],
        // A message that takes longer than its lease comes again and again.
        Mutant::LeaseNotRenewed => &["everything comes to rest", "each order ends once"],
        Mutant::TimeoutGoneWithAlarm => &["every timeout fires or is ended"],
        Mutant::MoveOverridden => &["a timeout fires in time", "everything comes to rest"],
        Mutant::OrderForgotten => &["nothing overtakes what was refused"],
        Mutant::NextForgotten | Mutant::BreakerStuck => &[
            "everything comes to rest",
            "each entry is written once, and printed once",
            // What waits behind a failure for ever is a message that nobody handles.
            "nothing that the broker took is lost",
        ],
        Mutant::CopiesAlike => &["everything comes to rest", "nothing that the broker took is lost"],
        _ => &[],
    }
}

#[test]
fn every_mutant_is_caught_by_the_rule_that_is_for_it() {
    let mut missed = Vec::new();
    println!("{:<24} {:>9}  broken", "mutant", "schedules");
    // No endpoint replays: what operators do has schedules of its own, in `replay.rs`.
    let of_endpoints = |mutant: &Mutant| *mutant != Mutant::ReplayDeletesFirst;
    for mutant in Mutant::ALL.into_iter().filter(of_endpoints) {
        let caught = (0..MOST).find_map(|seed| {
            mutate(Some(mutant));
            let broken = system(mutant, seed).breaks(seed);
            mutate(None);
            // What breaks without it was not caught.
            let is_sound = || system(mutant, seed).breaks(seed).is_none();
            broken.filter(|_| is_sound()).map(|broken| (seed + 1, broken))
        });
        let Some((schedules, broken)) = caught else {
            missed.push(format!("{mutant:?} is not caught in {MOST} schedules"));
            continue;
        };
        println!("{:<24} {schedules:>9}  {broken}", format!("{mutant:?}"));
        if !finders(mutant).contains(&broken.as_str()) {
            missed.push(format!(
                "{mutant:?} breaks {broken:?}, and not {:?}",
                finders(mutant)
            ));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
