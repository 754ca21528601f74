//! Makes a failing schedule small: fewer requests, fewer faults, as long as the same thing breaks.

use crate::plan::Schedule;

/// The most schedules that are tried.
const TRIES: usize = 2_000;

/// The smallest schedule found that still `breaks`: halves, then quarters, and so on down to single faults are left out
/// (ddmin, Zeller and Hildebrandt, IEEE TSE 2002).
pub(crate) fn shrink(schedule: &Schedule, requests: usize, breaks: impl Fn(&Schedule) -> bool) -> Schedule {
    let mut tries = TRIES;
    let mut attempt = |candidate: &Schedule| {
        tries = tries.saturating_sub(1);
        tries > 0 && breaks(candidate)
    };
    let mut best = schedule.clone();
    loop {
        let before = (
            best.faults.len(),
            best.requests.as_ref().map_or(requests, Vec::len),
        );
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
        if before
            == (
                best.faults.len(),
                best.requests.as_ref().map_or(requests, Vec::len),
            )
        {
            return best;
        }
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
    fn when_nothing_is_needed_nothing_is_kept() {
        assert!(fewer(&[1, 2, 3], |_| true).is_empty());
    }
}
