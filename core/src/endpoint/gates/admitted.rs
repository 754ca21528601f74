//! A message that the gates let through.

use std::sync::Arc;

use super::State;
use crate::endpoint::registry::Takers;
use crate::endpoint::shared::Shared;
use crate::recoverability::{Breaker, Entry, Outcome};

/// A message that was let through. Dropped, it leaves; what was not told of it is unrelated.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    pub(super) shared: &'a Shared,
    pub(super) takers: &'a Takers,
    pub(super) own: Option<Entry>,
    pub(super) destinations: Vec<Option<Entry>>,
    /// A handler named the destination that failed.
    pub(super) is_blamed: bool,
}

impl Admitted<'_> {
    /// What became of an attempt, as far as the whole endpoint is concerned.
    pub(crate) fn ended(&mut self, outcome: Outcome) {
        let is_blamed = std::mem::take(&mut self.is_blamed);
        if !(is_blamed && matches!(outcome, Outcome::Failed { .. })) {
            self.shared.gates.leave(self.shared, None, self.own, outcome);
        }
    }

    /// What became of the call of a destination.
    pub(crate) fn called(&mut self, destination: &Arc<str>, outcome: Outcome) {
        self.is_blamed |= matches!(outcome, Outcome::Failed { .. });
        let names = self.takers.destinations.iter().zip(&self.destinations);
        for (name, entry) in names.filter(|(name, _)| *name == destination) {
            self.shared.gates.leave(self.shared, Some(name), *entry, outcome);
        }
    }

    /// Whether it may still begin: no breaker has opened since.
    pub(crate) fn counts(&self) -> bool {
        self.all(&self.shared.gates.lock(), Breaker::counts)
    }

    /// Whether another attempt may follow at once.
    pub(crate) fn may_go_on(&self) -> bool {
        let state = self.shared.gates.lock();
        let limit = state.limits.get(&self.takers.name);
        limit.is_none_or(|limit| limit.limit().rate.is_none()) && self.all(&state, Breaker::is_current)
    }

    fn all(&self, state: &State, holds: impl Fn(&Breaker, Entry) -> bool) -> bool {
        let of = |breaker: Option<&Breaker>, entry: Option<Entry>| {
            let both = breaker.zip(entry);
            both.is_none_or(|(breaker, entry)| holds(breaker, entry))
        };
        let mut names = self.takers.destinations.iter().zip(&self.destinations);
        of(state.own.as_ref(), self.own)
            && names.all(|(name, entry)| of(state.destinations.get(name), *entry))
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let gates = &self.shared.gates;
        for (name, entry) in self.takers.destinations.iter().zip(&self.destinations) {
            gates.leave(self.shared, Some(name), *entry, Outcome::Unrelated);
        }
        gates.leave(self.shared, None, self.own, Outcome::Unrelated);
        let mut state = gates.lock();
        if let Some(limit) = state.limits.get_mut(&self.takers.name) {
            limit.leave();
            state.wake();
        }
    }
}
