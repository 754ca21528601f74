//! What a message passes before it is handled: circuit breakers, and the limits of its type. No attempt is counted here.

mod admitted;
mod place;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::Timestamp;
use crate::endpoint::probing::mutated;
use crate::endpoint::registry::Takers;
use crate::endpoint::shared::Shared;
use crate::recoverability::{
    Breaker, BreakerPolicy, BreakerState, Entry, Limit, Limiter, Outcome, Permission,
};

pub(crate) use admitted::Admitted;
pub(crate) use place::{Place, Waited};

/// What the circuit breakers of an endpoint do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breakers {
    /// The endpoint's own: for failures that no handler blames on a destination, and for those of its store.
    pub endpoint: BreakerState,
    /// Those of the destinations that handlers name.
    pub destinations: BTreeMap<String, BreakerState>,
}

/// All gates of an endpoint. Bounded: there is one per destination and type, and no more wait in line than are taken in.
#[derive(Debug)]
pub(crate) struct Gates {
    state: Mutex<State>,
    told: watch::Sender<Breakers>,
    /// The most messages that wait for a destination or a limit in memory.
    most_held: usize,
}

#[derive(Debug, Default)]
struct State {
    own: Option<Breaker>,
    destinations: BTreeMap<Arc<str>, Breaker>,
    limits: BTreeMap<Arc<str>, Limiter>,
    /// Who waits, by type: only the first of a line may ask.
    lines: BTreeMap<Arc<str>, VecDeque<(u64, Arc<Notify>)>>,
    next: u64,
    held: usize,
    /// Whether a message that must run alone waits for all others to be gone.
    is_hurried: bool,
    is_closed: bool,
}

/// Whether a message may be handled.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    /// It may, now.
    Admitted(Admitted<'a>),
    /// It waits in line.
    Wait(Place<'a>),
    /// It must not wait here: it is put off.
    Full,
    /// It must not wait here, and can't be put off, either: it is given back.
    Closed,
}

impl State {
    /// What the endpoint's own breaker says, and what all else says.
    fn ask(&self, takers: &Takers, now: Timestamp) -> (Permission, Permission) {
        let own = self
            .own
            .as_ref()
            .map_or(Permission::Now, |breaker| breaker.ask(now));
        let breakers = takers
            .destinations
            .iter()
            .filter_map(|name| self.destinations.get(name));
        let limit = self
            .limits
            .get(&takers.name)
            .map_or(Permission::Now, |limit| limit.ask(now));
        let others = breakers.map(|breaker| breaker.ask(now)).fold(limit, stricter);
        let is_probe = others == Permission::Now && !self.is_calm();
        let others = if is_probe && mutated!(BreakerStuck) {
            Permission::Later
        } else {
            others
        };

        (own, others)
    }

    fn enter(&mut self, takers: &Takers, now: Timestamp) -> (Option<Entry>, Vec<Option<Entry>>) {
        if let Some(limit) = self.limits.get_mut(&takers.name) {
            limit.enter(now);
        }
        let own = self.own.as_mut().map(Breaker::enter);
        let entries = takers.destinations.iter().map(|name| {
            let breaker = self.destinations.get_mut(name);
            breaker.map(Breaker::enter)
        });
        (own, entries.collect())
    }

    /// Whether all breakers are closed.
    fn is_calm(&self) -> bool {
        let mut all = self.own.iter().chain(self.destinations.values());
        all.all(|breaker| breaker.state() == BreakerState::Closed)
    }

    fn is_first(&self, line: &str, number: u64) -> bool {
        let first = self.lines.get(line).and_then(VecDeque::front);
        first.is_some_and(|(first, _)| *first == number)
    }

    /// Has the first of every line look again.
    fn wake(&self) {
        for (_, notify) in self.lines.values().filter_map(VecDeque::front) {
            notify.notify_one();
        }
    }

    fn wake_all(&self) {
        for (_, notify) in self.lines.values().flatten() {
            notify.notify_one();
        }
    }

    fn states(&self) -> Breakers {
        let state = |breaker: &Breaker| breaker.state();
        let destinations = self.destinations.iter();
        Breakers {
            endpoint: self.own.as_ref().map(state).unwrap_or_default(),
            destinations: destinations
                .map(|(name, breaker)| (name.to_string(), state(breaker)))
                .collect(),
        }
    }
}

const fn stricter(one: Permission, other: Permission) -> Permission {
    match (one, other) {
        (Permission::Later, _) | (_, Permission::Later) => Permission::Later,
        (Permission::At(one), Permission::At(other)) => {
            Permission::At(if one.as_micros() > other.as_micros() {
                one
            } else {
                other
            })
        }
        (Permission::At(at), Permission::Now) | (Permission::Now, Permission::At(at)) => Permission::At(at),
        (Permission::Now, Permission::Now) => Permission::Now,
    }
}

impl Gates {
    /// Closed breakers, without limits.
    pub(crate) fn new(
        own: Option<BreakerPolicy>,
        destinations: impl IntoIterator<Item = (Arc<str>, BreakerPolicy)>,
        most_held: usize,
    ) -> Self {
        let destinations = destinations.into_iter();
        let state = State {
            own: own.map(Breaker::new),
            destinations: destinations
                .map(|(name, policy)| (name, Breaker::new(policy)))
                .collect(),
            ..State::default()
        };
        Self {
            told: watch::Sender::new(state.states()),
            state: Mutex::new(state),
            most_held,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Breakers> {
        self.told.subscribe()
    }

    /// Sets the limit of a type; `on_clock` turns real time into that of the endpoint's clock.
    pub(crate) fn limit(&self, line: &Arc<str>, limit: Limit, on_clock: impl Fn(Duration) -> Duration) {
        let mut state = self.lock();
        let limiter = state.limits.entry(Arc::clone(line)).or_default();
        limiter.set(limit, on_clock);
        state.wake();
    }

    /// The limit of a type, if it has one.
    pub(crate) fn limit_of(&self, line: &str) -> Option<Limit> {
        self.lock().limits.get(line).map(Limiter::limit)
    }

    /// Whether more is taken in: while the endpoint's breaker is not closed, only one message that may probe.
    pub(crate) fn lets_in(&self) -> bool {
        let state = self.lock();
        let own = state.own.as_ref().map(Breaker::state).unwrap_or_default();
        match own {
            BreakerState::Closed => true,
            BreakerState::Open { .. } => state.held == 0,
            BreakerState::Probing => false,
        }
    }

    /// Nothing waits any more: the endpoint stops.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.wake_all();
    }

    /// Nothing waits, as long as a message that must run alone waits for all others to be gone.
    pub(crate) fn hurry(&self, is_hurried: bool) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.is_hurried, is_hurried) != is_hurried {
            state.wake_all();
        }
    }

    /// Lets a message through, or gives it a place in line. While one runs `alone` nothing else is taken in, so that it
    /// waits for the endpoint's own breaker only.
    pub(crate) fn enter<'a>(&'a self, shared: &'a Shared, takers: &'a Takers, alone: bool) -> Answer<'a> {
        let mut state = self.lock();
        let now = shared.clock.now();
        let (own, others) = state.ask(takers, now);
        if !state.lines.contains_key(&takers.name) && (own, others) == (Permission::Now, Permission::Now) {
            return Answer::Admitted(self.admitted(shared, &mut state, takers, now));
        }
        // What the endpoint's own breaker refuses is not put off: its store may be what fails, and little is taken in.
        let is_full = alone || state.is_hurried || state.held >= self.most_held;
        match own {
            _ if state.is_closed => return Answer::Closed,
            Permission::Now if is_full => return Answer::Full,
            Permission::Now => {}
            Permission::At(_) | Permission::Later if state.is_hurried => return Answer::Closed,
            Permission::At(_) | Permission::Later => {}
        }
        state.next += 1;
        state.held += 1;
        let number = state.next;
        let notify = Arc::new(Notify::new());
        let line = state.lines.entry(Arc::clone(&takers.name)).or_default();
        line.push_back((number, Arc::clone(&notify)));
        shared.counters.held.one();
        Answer::Wait(Place {
            gates: self,
            takers,
            number,
            notify,
        })
    }

    fn admitted<'a>(
        &self,
        shared: &'a Shared,
        state: &mut State,
        takers: &'a Takers,
        now: Timestamp,
    ) -> Admitted<'a> {
        let (own, destinations) = state.enter(takers, now);
        if !state.is_calm() {
            self.tell(state);
        }
        Admitted {
            shared,
            takers,
            own,
            destinations,
            is_blamed: false,
        }
    }

    fn tell(&self, state: &State) {
        let states = state.states();
        self.told.send_if_modified(|told| {
            let is_new = *told != states;
            *told = states;
            is_new
        });
    }

    fn leave(&self, shared: &Shared, name: Option<&Arc<str>>, entry: Option<Entry>, outcome: Outcome) {
        let Some(entry) = entry else { return };
        let mut state = self.lock();
        let now = shared.clock.now();
        let breaker = match name {
            Some(name) => state.destinations.get_mut(name),
            None => state.own.as_mut(),
        };
        let Some(breaker) = breaker else { return };
        let before = breaker.state();
        let has_changed = breaker.leave(entry, outcome, now);
        let after = breaker.state();
        if before == after {
            return;
        }
        if has_changed {
            let breaker = name.map_or("endpoint", |name| &**name);
            match after {
                BreakerState::Closed => {
                    tracing::info!(endpoint = %shared.name, breaker, "the circuit breaker closes")
                }
                BreakerState::Open { .. } | BreakerState::Probing => {
                    shared.counters.breaker_openings.one();
                    tracing::warn!(endpoint = %shared.name, breaker, "the circuit breaker opens: messages wait, at no cost to them");
                }
            }
        }
        self.tell(&state);
        state.wake();
    }
}
