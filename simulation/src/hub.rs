//! The world that all simulated processes share: its time, its broker, its stores, and what goes wrong in it.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::probe::{CrashPoint, Moment, Probe};

use crate::broker::Broker;
use crate::outside::Call;
use crate::plan::{Chooser, Fault, Site};
use crate::store::Shelf;
use crate::time::SimClock;
use crate::trace::{Event, Trace, What};

/// How long a message or a call takes between a process and the broker, or a third party.
pub(crate) const HOP: Duration = Duration::from_micros(500);

/// What all processes share.
#[derive(Debug)]
pub(crate) struct Hub {
    /// The world's own time, which no fault touches.
    pub(crate) clock: SimClock,
    state: Mutex<World>,
}

/// The state of the world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) chooser: Chooser,
    pub(crate) trace: Trace,
    pub(crate) broker: Broker,
    pub(crate) shelves: BTreeMap<Address, Shelf>,
    pub(crate) calls: Vec<Call>,
    pub(crate) processes: Vec<Standing>,
    /// The latest time for which anything is planned, or was, beside the rows that the stores have now.
    pub(crate) horizon: Timestamp,
}

/// How one process stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    /// Which start of it runs.
    pub(crate) start: u32,
    pub(crate) is_alive: bool,
    /// It ends as soon as its turn is over, and starts again after so long.
    pub(crate) ends: Option<Duration>,
    pub(crate) paused_until: Option<Timestamp>,
    /// Grows with every cut of its connection.
    pub(crate) connection: u32,
    /// It has made all its requests.
    pub(crate) is_done: bool,
    /// Its consumer ended for good.
    pub(crate) consumer_ended: bool,
}

impl Hub {
    pub(crate) fn new(clock: SimClock, chooser: Chooser, broker: Broker) -> Arc<Self> {
        let horizon = clock.now();
        Arc::new(Self {
            clock,
            state: Mutex::new(World {
                chooser,
                trace: Trace::default(),
                broker,
                shelves: BTreeMap::new(),
                calls: Vec::new(),
                processes: Vec::new(),
                horizon,
            }),
        })
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    pub(crate) fn note(&mut self, at: Timestamp, process: usize, what: What) {
        self.trace.events.push(Event { at, process, what });
    }

    /// Something is planned for `due`: the world goes on at least until then.
    pub(crate) fn plan(&mut self, due: Timestamp) {
        self.horizon = self.horizon.max(due);
    }
}

/// One start of one process: what its adapters hold on to. After its end, whatever they do waits for ever.
#[derive(Debug, Clone)]
pub(crate) struct Incarnation {
    pub(crate) hub: Arc<Hub>,
    pub(crate) process: usize,
    pub(crate) start: u32,
    /// The clock of the process.
    pub(crate) clock: SimClock,
}

impl Incarnation {
    pub(crate) fn is_alive(&self, world: &World) -> bool {
        let standing = &world.processes[self.process];
        standing.is_alive && standing.start == self.start && standing.ends.is_none()
    }

    /// Does something in the world, or never returns if the process has ended.
    pub(crate) async fn act<T>(&self, action: impl FnOnce(&mut World) -> T) -> T {
        // The lock must not be held while waiting.
        let done = {
            let mut world = self.hub.world();
            self.is_alive(&world).then(|| action(&mut world))
        };
        match done {
            Some(done) => done,
            None => pending().await,
        }
    }

    /// Waits in the world's time.
    pub(crate) async fn pass(&self, time: Duration) {
        self.hub.clock.sleep_until(self.hub.clock.now() + time).await;
    }

    pub(crate) fn note(&self, world: &mut World, what: What) {
        world.note(self.hub.clock.now(), self.process, what);
    }
}

impl Probe for Incarnation {
    fn goes_on(&self, point: CrashPoint, moment: Moment) -> bool {
        let mut world = self.hub.world();
        if !self.is_alive(&world) {
            return false;
        }
        let Some(Fault::Crash(down)) = world.chooser.ask(Site::Point(point, moment)) else {
            return true;
        };
        world.processes[self.process].ends = Some(down);
        self.note(&mut world, What::Crashed(Some((point, moment))));
        false
    }
}
