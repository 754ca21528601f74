//! One process of the world: how it starts, has its turn, and ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::endpoint::{self, EndpointError};
use longhaul_core::ids::SeededRandomness;
use tokio::sync::oneshot;

use super::{HEAD_START, Machine, RESTART, address, beginning};
use crate::client;
use crate::hub::{Incarnation, Standing};
use crate::outside::Outside;
use crate::store::SimPersistence;
use crate::time::SimClock;
use crate::trace::What;
use crate::transport::SimTransport;
use crate::world::Endpoint;

pub(super) type Life = Pin<Box<dyn Future<Output = Result<(), EndpointError>>>>;

pub(super) struct Process {
    /// Which of the world's endpoints it runs; the client runs none.
    pub(super) endpoint: Option<usize>,
    pub(super) name: Address,
    pub(super) clock: SimClock,
    pub(super) flag: Arc<Flag>,
    pub(super) waker: Waker,
    pub(super) life: Option<Life>,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) restart: Option<Timestamp>,
    pub(super) version: usize,
}

pub(super) struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Process {
    pub(super) fn new(endpoint: Option<usize>, name: Address, start: Timestamp) -> Self {
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

    /// Whether it has something to do.
    pub(super) fn can_run(&self) -> bool {
        self.life.is_some() && self.flag.0.load(Ordering::Relaxed)
    }
}

impl Machine<'_> {
    /// Starts a process.
    pub(super) fn begin(&mut self, at: usize) {
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

    pub(super) fn poll(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.flag.0.store(false, Ordering::Relaxed);
        let Some(life) = &mut process.life else { return };
        let polled = life.as_mut().poll(&mut Context::from_waker(&process.waker));
        let ends = {
            let (mut state, now) = (self.hub.world(), self.hub.clock.now());
            if let Some(length) = state.chooser.begun() {
                state.note(now, at, What::Disturbed { until: now + length });
            }
            state.processes[at].ends
        };
        if let Some(down) = ends {
            self.end(at);
            self.processes[at].restart = Some(self.hub.clock.now() + down);
        } else if let Poll::Ready(result) = polled {
            let now = self.hub.clock.now();
            let error = result.err().map(|error| error.to_string());
            let mut state = self.hub.world();
            state.note(now, at, What::Ended(error));
            state.note(now, at, What::Disturbed { until: now + RESTART });
            drop(state);
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
}
