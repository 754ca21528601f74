//! Puts an endpoint together, and reports everything that is wrong with it at once.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::address::Address;
use crate::clock::{Clock, SystemClock, within};
use crate::codec::{Codec, JsonCodec};
use crate::endpoint::manifest;
use crate::endpoint::probing::pass;
use crate::endpoint::registry::Registry;
use crate::endpoint::settings::{Settings, Waits};
use crate::endpoint::shared::Shared;
use crate::endpoint::{Endpoint, EndpointError, EndpointErrorKind};
use crate::handler::{ErrorClass, Handler};
use crate::ids::{Randomness, SystemRandomness};
use crate::limits::Limits;
use crate::message::{Command, Message};
use crate::pipeline::PipelineStep;
use crate::recoverability::{RetryPolicy, Rule};
use crate::stateful::StatefulHandler;
use crate::store::{Persistence, Store};
use crate::transport::{Declare, ReceiverOptions, Subscription, Topology, Transport};

/// Puts an endpoint together. `build` reports all faults at once, each with the line that mends it.
#[must_use = "nothing happens before `build` or `run_until`"]
pub struct EndpointBuilder {
    name: String,
    error_queue: String,
    host: Option<String>,
    transport: Option<Arc<dyn Transport>>,
    persistence: Option<Arc<dyn Persistence>>,
    codec: Option<Arc<dyn Codec>>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    routes: BTreeMap<String, String>,
    steps: Vec<Arc<dyn PipelineStep>>,
    registry: Registry,
    settings: Settings,
    faults: Vec<String>,
    #[cfg(feature = "simulation")]
    probing: crate::endpoint::probing::Probing,
}

impl fmt::Debug for EndpointBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointBuilder")
            .field("name", &self.name)
            .field("messages", &self.registry)
            .finish_non_exhaustive()
    }
}

impl EndpointBuilder {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            error_queue: String::from("error"),
            host: None,
            transport: None,
            persistence: None,
            codec: None,
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
            routes: BTreeMap::new(),
            steps: Vec::new(),
            registry: Registry::default(),
            settings: Settings::default(),
            faults: Vec::new(),
            #[cfg(feature = "simulation")]
            probing: crate::endpoint::probing::Probing::default(),
        }
    }

    /// The broker. Required.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Where state lives. Without one the endpoint is storeless: handlers only, all of them declared idempotent.
    pub fn persistence(mut self, persistence: impl Persistence) -> Self {
        self.persistence = Some(Arc::new(persistence));
        self
    }

    /// Handles messages of type `M`; events are subscribed to.
    pub fn handler<M: Message>(mut self, handler: impl Handler<M>) -> Self {
        self.registry.add_handler::<M>(handler, false);
        self
    }

    /// Like [`EndpointBuilder::handler`], for one that does no harm when it handles the same message again, however much
    /// later: because it passes on the idempotency key, or because what it does is naturally repeatable.
    pub fn idempotent_handler<M: Message>(mut self, handler: impl Handler<M>) -> Self {
        self.registry.add_handler::<M>(handler, true);
        self
    }

    /// Adds a participant with state.
    pub fn stateful(mut self, participant: impl StatefulHandler) -> Self {
        self.registry.add_stateful(participant);
        self
    }

    /// Commands of type `C` go to the endpoint `to`. A command that this endpoint handles itself needs no route.
    pub fn route<C: Command>(mut self, to: impl Into<String>) -> Self {
        let to = to.into();
        if let Some(have) = self.routes.insert(C::NAME.to_owned(), to.clone())
            && have != to
        {
            let name = C::NAME;
            self.faults.push(format!(
                "{name} is routed to {have:?} and to {to:?}: keep one `.route` for it"
            ));
        }
        self
    }

    /// Adds a step that every message passes.
    pub fn step(mut self, step: impl PipelineStep) -> Self {
        self.steps.push(Arc::new(step));
        self
    }

    /// The queue for messages that failed; `error` by default.
    pub fn error_queue(mut self, name: impl Into<String>) -> Self {
        self.error_queue = name.into();
        self
    }

    /// How bodies are written and read; JSON by default.
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.codec = Some(Arc::new(codec));
        self
    }

    /// The clock; the system's by default.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The source of randomness; the system's by default.
    pub fn randomness(mut self, randomness: impl Randomness) -> Self {
        self.randomness = Arc::new(randomness);
        self
    }

    /// What this machine is called in error headers; its host name by default.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Watches the endpoint for a simulation.
    #[cfg(feature = "simulation")]
    pub fn probe(mut self, probe: impl crate::probe::Probe) -> Self {
        self.probing.probe = Some(Arc::new(probe));
        self
    }

    /// Changes any of the settings.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// How failures are retried.
    pub fn retries(self, retries: RetryPolicy) -> Self {
        self.settings(|settings| settings.retries = retries)
    }

    /// Adds a rule for failures of one message type or one kind of error. The first rule that fits counts; what none fits
    /// goes by [`EndpointBuilder::retries`].
    pub fn recover(self, rule: Rule) -> Self {
        self.settings(|settings| settings.rules.add(rule))
    }

    /// Errors that came of an `E` by `?`, in a handler, are of the class that `class` says, and not unexpected.
    pub fn classify<E: std::error::Error + 'static>(
        self,
        class: impl Fn(&E) -> ErrorClass + Send + Sync + 'static,
    ) -> Self {
        self.settings(|settings| settings.rules.classify(class))
    }

    /// The most messages handled at once.
    pub fn concurrency(self, most: usize) -> Self {
        self.settings(|settings| settings.concurrency = most)
    }

    /// The most messages taken from the broker and not yet settled.
    pub fn prefetch(self, most: u16) -> Self {
        self.settings(|settings| settings.prefetch = most)
    }

    /// How long message ids and finished things are remembered.
    pub fn retention(self, retention: Duration) -> Self {
        self.settings(|settings| settings.retention = retention)
    }

    /// What is done about queues at the start.
    pub fn declare(self, mode: Declare) -> Self {
        self.settings(|settings| settings.declare = mode)
    }

    /// Limits on messages.
    pub fn limits(self, limits: Limits) -> Self {
        self.settings(|settings| settings.limits = limits)
    }

    /// Notes a fault of an extension; `build` reports it with the others.
    pub fn fault(mut self, fault: impl Into<String>) -> Self {
        self.faults.push(fault.into());
        self
    }

    /// Checks everything, opens the store, and prepares the broker.
    ///
    /// # Errors
    /// [`EndpointErrorKind::Configuration`] with all faults; else what the store or the broker said.
    pub async fn build(mut self) -> Result<Endpoint, EndpointError> {
        let (name, error_queue, routes) = self.check();
        let (Some(transport), Some(name), Some(error_queue)) = (self.transport.take(), name, error_queue)
        else {
            return Err(EndpointError::faults(&self.name, &self.faults));
        };
        if !self.faults.is_empty() {
            return Err(EndpointError::faults(&self.name, &self.faults));
        }
        self.settings = self.settings.on(&*self.clock);
        let limit = self.settings.call_limit;
        let store = match &self.persistence {
            None => None,
            Some(persistence) => {
                pass!(self, Before OpenStore);
                let opened = within(&*self.clock, limit, persistence.open(&name)).await;
                pass!(self, After OpenStore);
                let opened = opened
                    .ok_or_else(|| EndpointError::store("open the store: it did not answer in time"))?;
                Some(opened.map_err(|error| EndpointError::store(error.to_string()))?)
            }
        };
        let codec = self.codec.take();
        let codec =
            codec.unwrap_or_else(|| Arc::new(JsonCodec::with_max_depth(self.settings.limits.json_depth)));
        let waits = Waits::on(&*self.clock);
        let permits = Semaphore::new(self.settings.concurrency.min(Semaphore::MAX_PERMITS));
        let shared = Arc::new(Shared {
            name,
            error_queue,
            host: self.host.take().unwrap_or_else(host_name),
            transport,
            store,
            codec,
            clock: self.clock,
            randomness: self.randomness,
            routes,
            steps: self.steps,
            registry: self.registry,
            settings: self.settings,
            waits,
            locks: super::locks::KeyedLocks::default(),
            permits,
            queue: super::dispatcher::DispatchQueue::default(),
            marks: super::marks::Marks::default(),
            begun: super::begun::Begun::default(),
            unsent: super::unsent::Unsent::default(),
            relay: super::relay::RelaySignal::default(),
            counters: super::stats::Counters::default(),
            fatal: super::shared::Fatal::default(),
            #[cfg(feature = "simulation")]
            probing: self.probing,
        });
        prepare(&shared).await?;
        Ok(Endpoint::new(shared))
    }

    /// Builds the endpoint and runs it until `stop` resolves.
    ///
    /// # Errors
    /// See [`EndpointBuilder::build`] and [`Endpoint::run_until`].
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send) -> Result<(), EndpointError> {
        self.build().await?.run_until(stop).await
    }

    fn check(&mut self) -> (Option<Address>, Option<Address>, BTreeMap<String, Address>) {
        let mut faults = std::mem::take(&mut self.faults);
        let mut address = |name: &str| {
            Address::new(name)
                .map_err(|fault| faults.push(fault.to_string()))
                .ok()
        };
        let (name, error_queue) = (address(&self.name), address(&self.error_queue));
        let routes = self
            .routes
            .iter()
            .filter_map(|(name, to)| Some((name.clone(), address(to)?)))
            .collect();
        if self.transport.is_none() {
            faults.push(String::from("there is no broker: add `.transport(…)`"));
        }
        if name.is_some() && name == error_queue {
            faults.push(String::from(
                "the error queue is the input queue: choose another `.error_queue(…)`",
            ));
        }
        faults.append(&mut self.registry.faults);
        faults.extend(self.settings.faults());
        if self.persistence.is_none() {
            if self.registry.has_stateful() {
                faults.push(String::from(
                    "there is no store, but something that needs state: add `.persistence(…)`",
                ));
            } else {
                for name in self.registry.not_idempotent() {
                    faults.push(format!(
                        "there is no store, and the handler of {name} may run twice for one message: add `.persistence(…)`, \
                         or register it with `.idempotent_handler` if that does no harm"
                    ));
                }
            }
        }
        self.faults = faults;
        (name, error_queue, routes)
    }
}

/// Prepares the broker, and brings the subscriptions in line with the last start's.
async fn prepare(shared: &Shared) -> Result<(), EndpointError> {
    let wanted: Vec<Subscription> = shared
        .registry
        .events()
        .map(|event| Subscription {
            event: event.to_owned(),
            queue: shared.name.clone(),
        })
        .collect();
    let had = manifest::load(shared).await?;
    let retired: Vec<Subscription> = had
        .subscriptions
        .iter()
        .filter(|had| !wanted.contains(had))
        .cloned()
        .collect();
    let consumes = !shared.registry.is_empty();
    let topology = Topology {
        queues: if consumes {
            vec![shared.name.clone()]
        } else {
            Vec::new()
        },
        error_queues: if consumes {
            vec![shared.error_queue.clone()]
        } else {
            Vec::new()
        },
        subscriptions: wanted.clone(),
        retired: retired.clone(),
        delays: true,
    };
    let prepare = shared.transport.prepare(&topology, shared.settings.declare);
    // Declaring a whole topology is many calls.
    let limit = shared.settings.call_limit * 4;
    pass!(shared, Before Prepare);
    let prepared = within(&*shared.clock, limit, prepare).await;
    pass!(shared, After Prepare);
    let prepared = prepared.ok_or_else(|| {
        EndpointError::new(
            EndpointErrorKind::Transport,
            "prepare the broker: it did not answer in time",
        )
    })?;
    prepared.map_err(|error| EndpointError::new(EndpointErrorKind::Transport, error.to_string()))?;
    let is_declared = shared.settings.declare == Declare::Declare;
    for gone in &retired {
        let (event, queue) = (&gone.event, &gone.queue);
        if is_declared {
            tracing::info!(%event, "no longer subscribed to");
        } else {
            tracing::warn!(
                %event, %queue,
                "the queue is still subscribed to an event that nothing handles: remove the subscription, or start once with `Declare::Declare`"
            );
        }
    }
    // What nobody has removed must not be forgotten.
    let kept = if is_declared { Vec::new() } else { retired };
    let bound = wanted.into_iter().chain(kept).collect();
    manifest::save(shared, had, bound).await
}

/// How the endpoint consumes its queue: alone, where its store belongs to one process.
pub(crate) fn receiver_options(shared: &Shared) -> ReceiverOptions {
    let exclusive = shared
        .store
        .as_deref()
        .is_some_and(|store: &dyn Store| !store.is_shared());
    ReceiverOptions {
        prefetch: shared.settings.prefetch,
        exclusive,
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| String::from("unknown"))
}
