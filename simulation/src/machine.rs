//! Runs one schedule: polls processes one at a time, moves time on when none can run, and does to them what goes wrong.

mod settling;

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::endpoint::{self, EndpointError};
use longhaul_core::ids::{MessageId, SeededRandomness};
use longhaul_core::probe::{CrashPoint, Moment};
use tokio::sync::oneshot;

use crate::broker::{Broker, ERROR_QUEUE, Personality};
use crate::client;
use crate::effects::Effects;
use crate::faults::Faults;
use crate::hub::{Hub, Incarnation, Standing, World as State};
use crate::outside::Outside;
use crate::plan::{Chooser, Counts, Fault, Schedule, Site, WorldFault};
use crate::store::{Shelf, SimPersistence};
use crate::time::SimClock;
use crate::trace::{Member, Role, Trace, What};
use crate::transport::{SimTransport, renews};
use crate::workload::{Request, Workload};
use crate::world::{Endpoint, World};

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

type Life = Pin<Box<dyn Future<Output = Result<(), EndpointError>>>>;

struct Process {
    /// Which of the world's endpoints it runs; the client runs none.
    endpoint: Option<usize>,
    name: Address,
    clock: SimClock,
    flag: Arc<Flag>,
    waker: Waker,
    life: Option<Life>,
    stop: Option<oneshot::Sender<()>>,
    restart: Option<Timestamp>,
    version: usize,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
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
    /// What an operator has replayed.
    replayed: BTreeSet<MessageId>,
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
            replayed: BTreeSet::new(),
            most_events,
            requests: requests.collect(),
        };
        for at in 0..machine.processes.len() {
            machine.begin(at);
        }
        machine
    }

    /// Starts a process.
    fn begin(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let mut state = self.hub.world();
        let standing = &mut state.processes[at];
        *standing = Standing {
            start: standing.start + 1,
            is_alive: true,
            connection: standing.connection + 1,
            ..Standing::default()
        };
        let incarnation = Incarnation {
            hub: Arc::clone(&self.hub),
            process: at,
            start: standing.start,
            clock: process.clock.clone(),
        };
        state.note(self.hub.clock.now(), at, What::Started);
        let personality = state.broker.personality;
        drop(state);
        let (stop, stopped) = oneshot::channel();
        process.restart = None;
        process.stop = Some(stop);
        process.flag.0.store(true, Ordering::Relaxed);
        let seed = self.setup.seed ^ (at as u64) << 32 ^ u64::from(incarnation.start);
        let transport = SimTransport::new(incarnation.clone(), personality);
        let builder = endpoint::Endpoint::builder(process.name.as_str())
            .transport(transport)
            .clock(process.clock.clone())
            .randomness(SeededRandomness::new(seed))
            .host("simulated");
        let endpoint = process
            .endpoint
            .and_then(|endpoint| self.setup.world.endpoints.get(endpoint));
        let is_stored = endpoint.map_or(self.setup.world.client_is_stored, |endpoint| endpoint.is_stored);
        let builder = if is_stored {
            builder.persistence(SimPersistence(incarnation.clone()))
        } else {
            builder
        };
        let Some(endpoint) = endpoint else {
            // Without a store, a client that ended would forget what it was asked.
            let builder = if is_stored {
                builder.probe(incarnation.clone())
            } else {
                builder
            };
            let start = beginning() + HEAD_START;
            let endpoints = self.setup.world.endpoints.iter();
            let is_awaited = !self.setup.world.requests_at_once;
            let awaited = endpoints
                .filter(|_| is_awaited)
                .map(|one| address(&one.name))
                .collect();
            let life = client::live(incarnation, builder, start, self.requests.clone(), awaited);
            process.life = Some(Box::pin(life));
            return;
        };
        let builder = builder.probe(incarnation.clone());
        if self.is_settling {
            process.version = endpoint.newest();
        }
        let builder = endpoint.versions[process.version](builder, &Outside(incarnation));
        process.life = Some(Box::pin(async move {
            let stop = async {
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            builder.build().await?.run_until(stop).await
        }));
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
            let limit = self.hub.world().horizon.max(self.faults_end) + self.slack;
            match self.next() {
                Some(next) if next <= limit => self.advance(next),
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
        let mut state = self.hub.world();
        let count = self.processes.len();
        let can_run = |at: &usize| {
            let process = &self.processes[*at];
            process.flag.0.load(Ordering::Relaxed)
                && process.life.is_some()
                && state.processes[*at].paused_until.is_none()
        };
        let turn = self.turn + 1;
        let mut ready = (0..count).map(|offset| (turn + offset) % count).filter(can_run);
        let first = ready.next()?;
        let others: Vec<usize> = ready.collect();
        let chosen = match (others.as_slice(), first) {
            ([], _) => first,
            _ => match state.chooser.ask(Site::Turn) {
                Some(Fault::Pick(which)) => others[usize::from(which) % others.len()],
                _ => first,
            },
        };
        self.turn = chosen;
        Some(chosen)
    }

    fn poll(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.flag.0.store(false, Ordering::Relaxed);
        let Some(life) = &mut process.life else { return };
        let polled = life.as_mut().poll(&mut Context::from_waker(&process.waker));
        let ends = self.hub.world().processes[at].ends;
        if let Some(down) = ends {
            self.end(at);
            self.processes[at].restart = Some(self.hub.clock.now() + down);
        } else if let Poll::Ready(result) = polled {
            let now = self.hub.clock.now();
            let error = result.err().map(|error| error.to_string());
            self.hub.world().note(now, at, What::Ended(error));
            self.end(at);
            self.processes[at].restart = Some(now + RESTART);
        }
    }

    /// The process is gone: its memory, its connections, and what did not last.
    fn end(&mut self, at: usize) {
        self.hub.world().processes[at].is_alive = false;
        let process = &mut self.processes[at];
        // Dropping it must not find the world locked.
        drop(process.life.take());
        process.stop = None;
        let now = self.hub.clock.now();
        let mut state = self.hub.world();
        let state = &mut *state;
        state.broker.drop_connection(at, now);
        let others = state
            .trace
            .members
            .iter()
            .filter(|member| member.name == process.name);
        let is_alone = others.count() == 1;
        let luck = state.processes[at].start as usize + state.trace.events.len();
        if let Some(shelf) = state.shelves.get_mut(&process.name)
            && is_alone
            && let Some(from) = shelf.crash(&process.name, now, luck)
        {
            state.note(now, at, What::Lost { from });
        }
        // Deployments go forward and, at times, one back.
        let endpoint = process
            .endpoint
            .and_then(|endpoint| self.setup.world.endpoints.get(endpoint));
        let newest = endpoint.map_or(0, Endpoint::newest);
        process.version = match (luck % 2, process.version == newest) {
            (0, false) => process.version + 1,
            (0, true) => newest.saturating_sub(1),
            _ => process.version,
        };
    }

    /// When something happens next.
    fn next(&self) -> Option<Timestamp> {
        let timers = self
            .processes
            .iter()
            .filter_map(|process| process.clock.next_timer());
        let restarts = self.processes.iter().filter_map(|process| process.restart);
        let state = self.hub.world();
        let pauses = state
            .processes
            .iter()
            .filter_map(|standing| standing.paused_until);
        let events = self.events.front().map(|(at, _)| *at);
        let ends = [self.hub.clock.next_timer(), events, state.broker.next_end()];
        let next = timers
            .chain(restarts)
            .chain(pauses)
            .chain(ends.into_iter().flatten())
            .min();
        // A timer that a fault made overdue is due now.
        next.map(|next| next.max(self.hub.clock.now()))
    }

    fn advance(&mut self, to: Timestamp) {
        self.hub.clock.follow(to);
        for process in &self.processes {
            process.clock.follow(to);
        }
        if to >= self.faults_end {
            self.settle();
        }
        {
            let mut state = self.hub.world();
            for at in 0..state.processes.len() {
                if state.processes[at].paused_until.is_some_and(|until| until <= to) {
                    state.processes[at].paused_until = None;
                }
            }
            if state.broker.blocked_until.is_some_and(|until| until <= to) {
                state.broker.blocked_until = None;
            }
            let lost = {
                let State {
                    broker, processes, ..
                } = &mut *state;
                broker.end_loans(to, |holder| renews(processes, holder, to))
            };
            for (process, envelope) in lost {
                state.note(to, process, What::LeaseLost { envelope });
            }
        }
        while let Some((_, what)) = self.events.pop_front_if(|(at, _)| *at <= to) {
            self.happen(what, to);
        }
        for at in 0..self.processes.len() {
            if self.processes[at].restart.is_some_and(|restart| restart <= to) {
                self.begin(at);
            }
        }
    }

    /// Something of the world goes wrong.
    fn happen(&mut self, what: WorldFault, now: Timestamp) {
        let count = self.processes.len();
        let at = |process: u8| usize::from(process).clamp(1, count - 1);
        let (process, text) = match what {
            WorldFault::Cut(process) => {
                let mut state = self.hub.world();
                let standing = &mut state.processes[at(process)];
                standing.connection += 1;
                let lost = state.broker.drop_connection(at(process), now);
                for envelope in lost {
                    state.note(now, at(process), What::LeaseLost { envelope });
                }
                (at(process), String::from("its connection to the broker is cut"))
            }
            WorldFault::EndConsumer(process) => {
                let mut state = self.hub.world();
                state.processes[at(process)].consumer_ended = true;
                state.broker.drop_connection(at(process), now);
                (at(process), String::from("the broker ends its consumer"))
            }
            WorldFault::Block(length) => {
                self.hub.world().broker.blocked_until = Some(now + length);
                (0, format!("the broker takes nothing for {length:?}"))
            }
            WorldFault::Pause(process, length) => {
                self.hub.world().processes[at(process)].paused_until = Some(now + length);
                (at(process), format!("it stands still for {length:?}"))
            }
            WorldFault::Step(process, micros) => {
                self.processes[at(process)].clock.step(micros);
                if micros < 0 {
                    self.slack += Duration::from_micros(micros.unsigned_abs());
                }
                (
                    at(process),
                    format!("its clock jumps by {} s", micros / 1_000_000),
                )
            }
            WorldFault::Stop(process) => {
                if let Some(stop) = self.processes[at(process)].stop.take() {
                    // It may have ended already.
                    stop.send(()).unwrap_or_default();
                }
                (at(process), String::from("it is asked to stop"))
            }
        };
        self.hub.world().note(now, process, What::World(text));
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
            leases: personality == Personality::Sqs,
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

impl Process {
    fn new(endpoint: Option<usize>, name: Address, start: Timestamp) -> Self {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        Self {
            endpoint,
            name,
            clock: SimClock::starting_at(start),
            waker: Waker::from(Arc::clone(&flag)),
            flag,
            life: None,
            stop: None,
            restart: None,
            version: 0,
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
