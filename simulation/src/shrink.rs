//! Makes a failing schedule small: fewer requests, fewer faults, shorter times, as long as the same thing breaks.
//!
//! An invariant may speak of requests that were left out. So no schedule is taken that breaks it without any fault, unless
//! the whole one does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::{Fault, Place, Schedule, WorldFault};

/// The most schedules that are tried.
const TRIES: usize = 2_000;
/// Times that people can read; the first that still breaks is taken.
const ROUND: [Duration; 8] = [
    Duration::from_micros(1),
    Duration::from_millis(1),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
    Duration::from_secs(100),
];

/// The smallest schedule found that still `breaks`: halves, then quarters, and so on down to single requests and faults
/// are left out (ddmin, Zeller and Hildebrandt, IEEE TSE 2002), until nothing more can be; then times are made short.
pub(crate) fn shrink(schedule: &Schedule, requests: usize, breaks: impl Fn(&Schedule) -> bool) -> Schedule {
    let mut tries = TRIES;
    let breaks = Needing::faults(&breaks, schedule);
    let mut attempt = |candidate: &Schedule| {
        tries = tries.saturating_sub(1);
        tries > 0 && breaks.holds(candidate)
    };
    let mut best = schedule.clone();
    let plain = Schedule {
        seed: 0,
        ..best.clone()
    };
    if plain != best && attempt(&plain) {
        best = plain;
    }
    loop {
        let before = size(&best, requests);
        let all: Vec<usize> = (0..requests).collect();
        let chosen = best.requests.clone().unwrap_or(all);
        let chosen = fewer(&chosen, |chosen| {
            attempt(&Schedule {
                requests: Some(chosen.to_vec()),
                ..best.clone()
            })
        });
        if chosen.len() < requests {
            best.requests = Some(chosen);
        }
        let faults = fewer(&best.faults, |faults| {
            attempt(&Schedule {
                faults: faults.to_vec(),
                ..best.clone()
            })
        });
        best.faults = faults;
        if let Some(fewer) = moved(&best, requests, &mut attempt) {
            best = fewer;
        }
        if before == size(&best, requests) {
            break;
        }
    }
    rounded(best, attempt)
}

/// Whether a schedule breaks something by its faults.
struct Needing<'a, B> {
    breaks: &'a B,
    /// Whether so few requests break it without any fault; `None` if all of them do.
    quiet: Option<RefCell<BTreeMap<Option<Vec<usize>>, bool>>>,
}

impl<'a, B: Fn(&Schedule) -> bool> Needing<'a, B> {
    fn faults(breaks: &'a B, schedule: &Schedule) -> Self {
        let quiet = !breaks(&without_faults(schedule));
        Self {
            breaks,
            quiet: quiet.then(RefCell::default),
        }
    }

    fn holds(&self, candidate: &Schedule) -> bool {
        let asks_nothing = candidate.requests.as_ref().is_some_and(Vec::is_empty);
        if asks_nothing || !(self.breaks)(candidate) {
            return false;
        }
        let Some(quiet) = &self.quiet else { return true };
        let breaks = || (self.breaks)(&without_faults(candidate));
        !*quiet
            .borrow_mut()
            .entry(candidate.requests.clone())
            .or_insert_with(breaks)
    }
}

fn without_faults(schedule: &Schedule) -> Schedule {
    Schedule {
        faults: Vec::new(),
        ..schedule.clone()
    }
}

fn size(schedule: &Schedule, requests: usize) -> (usize, usize) {
    let asked = schedule.requests.as_ref().map_or(requests, Vec::len);
    (schedule.faults.len(), asked)
}

/// One request less, with the faults a little earlier: a place is the n-th of its kind, and every request before it counts.
fn moved(best: &Schedule, requests: usize, mut breaks: impl FnMut(&Schedule) -> bool) -> Option<Schedule> {
    let all: Vec<usize> = (0..requests).collect();
    let chosen = best.requests.as_ref().unwrap_or(&all);
    let earlier = earlier(&best.faults);
    (0..chosen.len()).find_map(|left_out| {
        let mut chosen = chosen.clone();
        chosen.remove(left_out);
        let candidates = earlier.iter().map(|faults| Schedule {
            requests: Some(chosen.clone()),
            faults: faults.clone(),
            ..best.clone()
        });
        candidates.into_iter().find(&mut breaks)
    })
}

/// The same faults in places before theirs: one in each of the next places, two in each pair of the next few, and more of
/// them all by the same share.
fn earlier(faults: &[(Place, Fault)]) -> Vec<Vec<(Place, Fault)>> {
    const FAR: u32 = 30;
    const NEAR: u32 = 8;
    const SHARES: u32 = 16;
    let shifted = |steps: &[u32]| {
        let mut shifted = faults.to_vec();
        for ((place, _), step) in shifted.iter_mut().zip(steps) {
            place.nth = place.nth.saturating_sub(*step);
        }
        shifted
    };
    let mut all: Vec<Vec<(Place, Fault)>> = match faults {
        [] => Vec::new(),
        [_] => (1..=FAR).map(|step| shifted(&[step])).collect(),
        [_, _] => (1..=NEAR * NEAR)
            .map(|pair| shifted(&[pair / NEAR, pair % NEAR]))
            .collect(),
        more => (1..=SHARES)
            .map(|share| {
                shifted(
                    &more
                        .iter()
                        .map(|(place, _)| place.nth * share / SHARES)
                        .collect::<Vec<_>>(),
                )
            })
            .collect(),
    };
    all.dedup();
    all
}

/// The same faults with the shortest round times that still break.
fn rounded(mut best: Schedule, mut breaks: impl FnMut(&Schedule) -> bool) -> Schedule {
    for at in 0..best.faults.len() {
        let Some(length) = length(&mut best.faults[at].1).copied() else {
            continue;
        };
        for shorter in ROUND.into_iter().filter(|round| *round < length) {
            let mut candidate = best.clone();
            if let Some(length) = self::length(&mut candidate.faults[at].1) {
                *length = shorter;
            }
            if breaks(&candidate) {
                best = candidate;
                break;
            }
        }
    }
    best
}

/// For how long something is wrong, if that is part of what is wrong.
const fn length(fault: &mut Fault) -> Option<&mut Duration> {
    match fault {
        Fault::Late(length) | Fault::Twice(length) | Fault::Crash(length) => Some(length),
        Fault::World(_, WorldFault::Block(length) | WorldFault::Pause(_, length)) => Some(length),
        _ => None,
    }
}

/// As few of `items` as still break.
fn fewer<T: Clone>(items: &[T], mut breaks: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut kept = items.to_vec();
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < kept.len() {
            let to = (from + size).min(kept.len());
            let without: Vec<T> = kept[..from].iter().chain(&kept[to..]).cloned().collect();
            if breaks(&without) {
                kept = without;
            } else {
                from = to;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_two_of_many_are_needed_those_two_are_kept() {
        let items: Vec<u32> = (0..37).collect();
        let kept = fewer(&items, |items| items.contains(&3) && items.contains(&29));
        assert_eq!(kept, [3, 29]);
    }

    #[test]
    fn when_a_message_must_be_some_seconds_late_it_is_late_by_a_round_time() {
        let drawn: Schedule = "rabbit seed:9 arrival#1=late:77777777 settle#0=lost arrival#4=twice:1234567"
            .parse()
            .expect("reads");
        let long = |schedule: &Schedule| {
            let mut faults = schedule.faults.iter();
            faults.any(|(_, fault)| matches!(fault, Fault::Late(by) if *by > Duration::from_secs(12)))
        };
        assert_eq!(
            shrink(&drawn, 3, long).to_string(),
            "rabbit requests:2 arrival#1=late:20000000"
        );
    }

    #[test]
    fn when_the_place_of_a_fault_depends_on_the_requests_before_it_both_become_fewer() {
        // Each request has two arrivals, and the second of the last one must be late.
        let breaks = |schedule: &Schedule| {
            let requests = schedule.requests.as_ref().map_or(5, Vec::len);
            let mut faults = schedule.faults.iter();
            faults.any(|(place, _)| place.nth as usize + 1 == 2 * requests)
        };
        let drawn: Schedule = "sqs arrival#9=late:1 settle#0=lost".parse().expect("reads");
        assert_eq!(
            shrink(&drawn, 5, breaks).to_string(),
            "sqs requests:4 arrival#1=late:1"
        );
    }

    #[test]
    fn when_a_request_is_what_is_missed_it_is_not_left_out() {
        let breaks = |schedule: &Schedule| {
            let asked = schedule.requests.as_ref();
            !schedule.faults.is_empty() || asked.is_some_and(|asked| !asked.contains(&1))
        };
        let drawn: Schedule = "sqs arrival#9=late:1 settle#0=lost".parse().expect("reads");
        assert_eq!(
            shrink(&drawn, 5, breaks).to_string(),
            "sqs requests:1 settle#0=lost"
        );
        let always = |_: &Schedule| true;
        assert_eq!(shrink(&drawn, 5, always).to_string(), "sqs requests:4");
    }

    #[test]
    fn when_nothing_is_needed_nothing_is_kept() {
        assert!(fewer(&[1, 2, 3], |_| true).is_empty());
    }
}
