//! Runs one schedule: polls processes one at a time, moves time on when none can run, and does to them what goes wrong.

mod happen;
mod process;
mod settling;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::ids::MessageId;
use longhaul_core::probe::{CrashPoint, Moment};

use self::process::Process;
use crate::broker::{Broker, ERROR_QUEUE, Personality};
use crate::effects::Effects;
use crate::faults::Faults;
use crate::hub::{Hub, Standing, World as State};
use crate::plan::{Chooser, Counts, Fault, Schedule, Site, WorldFault};
use crate::store::Shelf;
use crate::time::SimClock;
use crate::trace::{Member, Role, Trace, What};
use crate::workload::{Request, Workload};
use crate::world::World;

/// Faults come only in so much of the beginning, after the last request.
const FAULTS: Duration = Duration::from_secs(120);
/// How long everything may take to come to rest, once nothing goes wrong and nothing is planned any more.
pub(crate) const SETTLE: Duration = Duration::from_secs(600);
/// After how long a process that ended by itself is started again.
pub(crate) const RESTART: Duration = Duration::from_secs(1);
/// The first request comes when the endpoints have declared their queues.
const HEAD_START: Duration = Duration::from_millis(50);

/// What came of one schedule.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) trace: Trace,
    pub(crate) effects: Effects,
    pub(crate) schedule: Schedule,
    /// How long it took in the world's time.
    pub(crate) virtual_time: Duration,
    /// How often each kind of moment came: in all, and before something went wrong first.
    pub(crate) counts: (Counts, Counts),
    /// How many messages were delivered.
    pub(crate) messages: u64,
}

impl Run {
    /// How often a kind of moment came.
    pub(crate) const fn count(&self, site: Site) -> u32 {
        self.counts.0.of(site)
    }

    /// How often a kind of moment had come when something went wrong first, that moment included.
    pub(crate) const fn counts_at_first_fault(&self, site: Site) -> u32 {
        self.counts.1.of(site)
    }

    /// How often a process ended at a point.
    pub(crate) fn crashes_at(&self, point: CrashPoint, moment: Moment) -> u64 {
        let there = self.schedule.faults.iter();
        there
            .filter(|(place, _)| place.site == Site::Point(point, moment))
            .count() as u64
    }
}

/// Where every schedule begins.
const fn beginning() -> Timestamp {
    // 2026-01-01T00:00:00Z
    Timestamp::from_micros(1_767_225_600_000_000)
}

/// What one schedule is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub(crate) world: &'a World,
    pub(crate) workload: &'a Workload,
    pub(crate) faults: &'a Faults,
    /// Where the endpoints' own randomness comes from: ids and jitter.
    pub(crate) seed: u64,
}

/// Runs one schedule from its beginning until everything has come to rest.
pub(crate) fn run(
    setup: Setup<'_>,
    personality: Personality,
    requests: Option<Vec<usize>>,
    chooser: Chooser,
) -> Run {
    let mut machine = Machine::new(setup, personality, requests.as_deref(), chooser);
    machine.go();
    machine.finish(personality, requests)
}

struct Machine<'a> {
    setup: Setup<'a>,
    hub: Arc<Hub>,
    processes: Vec<Process>,
    /// What the world does by itself, the next first.
    events: VecDeque<(Timestamp, WorldFault)>,
    faults_end: Timestamp,
    /// The latest time at which everything must have come to rest, beyond what is planned.
    slack: Duration,
    turn: usize,
    /// Faults are over.
    is_settling: bool,
    /// What an operator has replayed or discarded.
    answered: BTreeSet<MessageId>,
    most_events: usize,
    requests: Vec<(usize, Request)>,
}

impl<'a> Machine<'a> {
    fn new(
        setup: Setup<'a>,
        personality: Personality,
        requests_wanted: Option<&[usize]>,
        chooser: Chooser,
    ) -> Self {
        let start = beginning();
        let hub = Hub::new(SimClock::starting_at(start), chooser, Broker::new(personality));
        let mut processes = vec![Process::new(None, client_name(), start)];
        {
            let mut state = hub.world();
            state.add(client_name(), Role::Client);
            if setup.world.client_is_stored {
                state.shelves.insert(client_name(), Shelf::new(false));
            }
            if let Ok(errors) = Address::new(ERROR_QUEUE) {
                state.broker.queues.entry(errors).or_default();
            }
            for (at, endpoint) in setup.world.endpoints.iter().enumerate() {
                let name = address(&endpoint.name);
                let role = if endpoint.is_stored {
                    Role::Stored
                } else {
                    Role::Storeless
                };
                for _ in 0..endpoint.instances {
                    state.add(name.clone(), role);
                    processes.push(Process::new(Some(at), name.clone(), start));
                }
                if endpoint.is_stored {
                    state.shelves.insert(name, Shelf::new(endpoint.instances > 1));
                }
            }
        }
        let last = setup
            .workload
            .requests
            .last()
            .map_or(Duration::ZERO, |request| request.at);
        let faults_end = start + HEAD_START + last + FAULTS;
        hub.world().plan(faults_end);
        let count = u8::try_from(processes.len()).unwrap_or(u8::MAX);
        let events = hub.world().chooser.world(count, setup.faults);
        let events = events
            .into_iter()
            .map(|(after, what)| (start + HEAD_START + after, what));
        let most_events = 50_000 + 2_000 * setup.workload.requests.len();
        let requests = setup.workload.requests.iter().cloned().enumerate();
        let requests = requests.filter(|(at, _)| requests_wanted.is_none_or(|wanted| wanted.contains(at)));
        let mut machine = Self {
            setup,
            hub,
            events: events.collect(),
            processes,
            faults_end,
            slack: SETTLE,
            turn: 0,
            is_settling: false,
            answered: BTreeSet::new(),
            most_events,
            requests: requests.collect(),
        };
        for at in 0..machine.processes.len() {
            machine.begin(at);
        }
        machine
    }

    fn go(&mut self) {
        loop {
            while let Some(at) = self.choose() {
                self.poll(at);
            }
            if let Some(what) = self.is_endless() {
                self.hub.world().trace.unsettled = Some(what);
                return;
            }
            if self.is_at_rest() && !self.has_more_to_settle() {
                return;
            }
            while let Some(at) = self.choose() {
                self.poll(at);
            }
            match self.next() {
                Some(next) if self.is_in_time(next) => self.advance(next),
                _ => {
                    let left = self.left();
                    self.hub.world().trace.unsettled = Some(left);
                    return;
                }
            }
        }
    }

    /// The process whose turn it is, if any can run.
    fn choose(&mut self) -> Option<usize> {
        let mut guard = self.hub.world();
        let state = &mut *guard;
        let (count, turn) = (self.processes.len(), self.turn + 1);
        let standing = &state.processes;
        let can_run = |at: &usize| self.processes[*at].can_run() && standing[*at].paused_until.is_none();
        let mut ready = (0..count).map(|offset| (turn + offset) % count).filter(can_run);
        let first = ready.next()?;
        let others = ready.clone().count();
        let chosen = match others {
            0 => first,
            _ => match state.chooser.ask(Site::Turn) {
                Some(Fault::Pick(which)) => ready.nth(usize::from(which) % others).unwrap_or(first),
                _ => first,
            },
        };
        drop(guard);
        self.turn = chosen;
        Some(chosen)
    }

    /// Whether nothing is left to do and nobody is missing.
    fn is_at_rest(&self) -> bool {
        if self.processes.iter().any(|process| process.life.is_none()) {
            return false;
        }
        let mut state = self.hub.world();
        if !state.processes[0].is_done
            // Where no timeout is left, an alarm means nothing: those of the near future may show that.
            || !state.broker.is_empty_until(self.hub.clock.now() + self.near())
            || state
                .processes
                .iter()
                .any(|standing| standing.paused_until.is_some())
        {
            return false;
        }
        state.shelves.iter_mut().all(|(endpoint, shelf)| {
            let sizes = shelf.sizes(endpoint);
            sizes.unsent + sizes.timeouts == 0
        })
    }

    /// Whether what is planned may still go on at that time.
    fn is_in_time(&self, next: Timestamp) -> bool {
        let mut state = self.hub.world();
        if next <= state.horizon.max(self.faults_end) + self.slack {
            return true;
        }
        if let Some(alarm) = state.broker.last_until(self.hub.clock.now() + self.near()) {
            // Whoever gets it must find out that it means nothing.
            state.plan(alarm);
        }
        let stored = state.shelves.values().filter_map(Shelf::farthest);
        let last = stored.max().max(Some(state.horizon));
        last.is_some_and(|last| next <= last + self.slack)
    }

    fn is_endless(&self) -> Option<String> {
        let state = self.hub.world();
        (state.trace.events.len() > self.most_events).then(|| {
            format!(
                "more than {} things happened, and there is no end",
                self.most_events
            )
        })
    }

    /// What has not come to rest, for people.
    fn left(&self) -> String {
        let mut state = self.hub.world();
        let mut left = state.broker.contents();
        for (endpoint, shelf) in &mut state.shelves {
            let rows = shelf.pending(endpoint);
            left.extend(rows.iter().map(|row| {
                format!(
                    "{endpoint} has {} {:?} pending, due {:?}",
                    row.envelope.id, row.kind, row.due
                )
            }));
        }
        for (at, process) in self.processes.iter().enumerate() {
            if process.life.is_none() {
                left.push(format!("process {at} ({}) does not run", process.name));
            }
        }
        left.truncate(10);
        format!("not at rest {SETTLE:?} after the last fault: {}", left.join("; "))
    }

    fn finish(mut self, personality: Personality, requests: Option<Vec<usize>>) -> Run {
        for at in 0..self.processes.len() {
            self.hub.world().processes[at].is_alive = false;
            drop(self.processes[at].life.take());
        }
        let mut state = self.hub.world();
        let state = &mut *state;
        state.trace.failed = state.broker.failed();
        let mut trace = std::mem::take(&mut state.trace);
        for (endpoint, shelf) in &mut state.shelves {
            trace.known.insert(endpoint.clone(), shelf.known(endpoint));
        }
        let schedule = Schedule {
            faults: state.chooser.taken().to_vec(),
            requests,
            personality,
            seed: self.setup.seed,
        };
        let delivered = trace
            .events
            .iter()
            .filter(|event| matches!(event.what, What::Delivered { .. }));
        Run {
            messages: delivered.count() as u64,
            effects: Effects::new(
                &trace,
                std::mem::take(&mut state.calls),
                std::mem::take(&mut state.shelves),
            ),
            trace,
            schedule,
            virtual_time: self.hub.clock.now().since(beginning()),
            counts: state.chooser.counts(),
        }
    }
}

impl State {
    fn add(&mut self, name: Address, role: Role) {
        self.trace.members.push(Member { name, role });
        self.processes.push(Standing::default());
    }
}

fn client_name() -> Address {
    address("client")
}

fn address(name: &str) -> Address {
    match Address::new(name) {
        Ok(address) => address,
        Err(fault) => panic!("failed to {fault}"),
    }
}
