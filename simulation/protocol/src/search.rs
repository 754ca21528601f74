//! Looks at every state that can be reached, nearest first.

use crate::invariant::{Invariant, is_complete};
use crate::protocol::{Found, Protocol};
use crate::state::State;
use crate::step::Step;
use crate::trace::{Broken, Violation};
use crate::visited::Visited;

/// How far a search is: it has looked at every state that so many steps lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Steps from the beginning.
    pub depth: u32,
    /// States found so far.
    pub states: u32,
}

/// What a search found.
#[derive(Debug, Clone)]
pub struct Report {
    /// States that differ; two that differ only in which process is which count as one.
    pub states: u32,
    /// Steps between them.
    pub transitions: u64,
    /// The most steps that the shortest way to a state takes.
    pub depth: u32,
    /// States in which all is done and nothing moves any more.
    pub ends: u32,
    /// The answer.
    pub verdict: Verdict,
}

/// The answer of a search.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Every state was looked at, and none is wrong.
    Holds,
    /// The nearest state that is wrong.
    Violated(Violation),
    /// There are more states than allowed; none of those that were looked at is wrong.
    TooManyStates,
}

/// Searches all that `protocol` allows, but no more than about `most_states` states: each takes about 100 bytes of
/// memory. `each_level` is called whenever all states of one distance have been looked at.
pub fn search(protocol: &Protocol, most_states: u32, each_level: impl FnMut(Level)) -> Report {
    let mut search = Search {
        protocol,
        visited: Visited::new(),
        parents: Vec::new(),
        progress: Progress::default(),
        transitions: 0,
        depth: 0,
    };
    let verdict = search.explore(most_states, each_level).unwrap_or_else(|| {
        let trapped = search.progress.first_without_end();
        trapped.map_or(Verdict::Holds, |state| search.violated(Broken::Trapped, state))
    });
    Report {
        states: search.visited.len(),
        transitions: search.transitions,
        depth: search.depth,
        ends: search.progress.ends,
        verdict,
    }
}

struct Search<'a> {
    protocol: &'a Protocol,
    visited: Visited<State>,
    /// From where each state was reached first.
    parents: Vec<u32>,
    progress: Progress,
    transitions: u64,
    depth: u32,
}

impl Search<'_> {
    /// Looks at all states; ends early with the first that is wrong, or when there are too many.
    fn explore(&mut self, most_states: u32, mut each_level: impl FnMut(Level)) -> Option<Verdict> {
        let mut found = Found::new();
        self.visited
            .insert(State::initial(self.protocol.bounds).canonical());
        self.parents.push(0);
        let mut end_of_level = 1;
        let mut current = 0;
        while let Some(state) = self.visited.get(current).copied() {
            if current == end_of_level {
                each_level(Level {
                    depth: self.depth,
                    states: self.visited.len(),
                });
                self.depth += 1;
                end_of_level = self.visited.len();
            }
            self.protocol.steps(&state, &mut found);
            let mut moves = false;
            for (step, next) in found.drain(..) {
                self.transitions += 1;
                let (number, is_new) = self.visited.insert(next.canonical());
                if is_new {
                    self.parents.push(current);
                    if let Some(invariant) = Invariant::broken_in(self.protocol, &next) {
                        return Some(self.violated(Broken::Invariant(invariant), number));
                    }
                }
                if step.is_progress() {
                    moves = true;
                    self.progress.targets.push(number);
                }
            }
            let is_end = !moves && is_complete(self.protocol, &state);
            if !moves && !is_end {
                return Some(self.violated(Broken::Stranded, current));
            }
            self.progress.close(is_end);
            if self.visited.len() > most_states {
                return Some(Verdict::TooManyStates);
            }
            current += 1;
        }
        None
    }

    fn violated(&self, broken: Broken, state: u32) -> Verdict {
        let trace = self.trace(state);
        Verdict::Violated(Violation { broken, trace })
    }

    /// The steps to a state. They are taken once more from the beginning, so that each process keeps its name.
    fn trace(&self, state: u32) -> Vec<Step> {
        let mut numbers = vec![state];
        let mut at = state;
        while at != 0 {
            at = self.parents[at as usize];
            numbers.push(at);
        }
        let mut found = Found::new();
        let mut steps = Vec::with_capacity(numbers.len());
        let mut here = State::initial(self.protocol.bounds);
        for number in numbers.into_iter().rev().skip(1) {
            found.clear();
            self.protocol.steps(&here, &mut found);
            let wanted = self.visited.get(number);
            let taken = found.iter().find(|(_, next)| Some(&next.canonical()) == wanted);
            let Some((step, next)) = taken.copied() else {
                break;
            };
            steps.push(step);
            here = next;
        }
        steps
    }
}

/// The steps of a run in which nothing goes wrong, from each state that was looked at.
#[derive(Debug, Default)]
struct Progress {
    /// Where the steps lead, state by state.
    targets: Vec<u32>,
    /// Where the steps of each state end among the targets.
    until: Vec<usize>,
    is_end: Vec<bool>,
    /// How many states are ends.
    ends: u32,
}

impl Progress {
    /// The steps of one more state are complete.
    fn close(&mut self, is_end: bool) {
        self.until.push(self.targets.len());
        self.is_end.push(is_end);
        self.ends += u32::from(is_end);
    }

    fn from(&self, state: usize) -> &[u32] {
        let begin = state.checked_sub(1).map_or(0, |before| self.until[before]);
        &self.targets[begin..self.until[state]]
    }

    /// The first state from which no end can be reached. Goes backwards from the ends until nothing is added.
    fn first_without_end(&self) -> Option<u32> {
        let mut reaches = self.is_end.clone();
        loop {
            let mut has_changed = false;
            for state in (0..reaches.len()).rev() {
                if !reaches[state] && self.from(state).iter().any(|next| reaches[*next as usize]) {
                    reaches[state] = true;
                    has_changed = true;
                }
            }
            if !has_changed {
                break;
            }
        }
        (0..)
            .zip(reaches)
            .find(|(_, reaches)| !reaches)
            .map(|(state, _)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// States by number, each with the steps that lead on from it; a state without any is an end if it says so.
    fn progress(states: &[(&[u32], bool)]) -> Progress {
        let mut progress = Progress::default();
        for (targets, is_end) in states {
            progress.targets.extend(*targets);
            progress.close(*is_end);
        }
        progress
    }

    #[test]
    fn when_a_circle_has_no_way_out_its_first_state_is_found() {
        let circle = progress(&[(&[1, 2], false), (&[], true), (&[3], false), (&[2], false)]);
        assert_eq!(circle.first_without_end(), Some(2));
    }

    #[test]
    fn when_a_circle_has_a_way_out_nothing_is_found() {
        let circle = progress(&[(&[1], false), (&[2, 0], false), (&[3, 1], false), (&[], true)]);
        assert_eq!(circle.first_without_end(), None);
    }

    #[test]
    fn when_there_are_more_states_than_allowed_it_says_so() {
        let protocol = Protocol::new(crate::Bounds::default());
        let report = search(&protocol, 100, |_| {});
        assert!(matches!(report.verdict, Verdict::TooManyStates));
        assert!(report.states < 120);
    }
}
