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
use crate::control::{ChangeLimit, LetPass};
use crate::endpoint::control::{self, LimitControl, LimitMemory, OrderControl};
use crate::endpoint::gates::Gates;
use crate::endpoint::preparing;
use crate::endpoint::probing::pass;
use crate::endpoint::registry::Registry;
use crate::endpoint::rehearsal::Rehearsal;
use crate::endpoint::settings::{self, Settings, Waits};
use crate::endpoint::shared::Shared;
use crate::endpoint::{Endpoint, EndpointError, EndpointErrorKind, started};
use crate::handler::{ErrorClass, Handler};
use crate::ids::{Randomness, SystemRandomness};
use crate::limits::Limits;
use crate::message::{Command, Message};
use crate::pipeline::PipelineStep;
use crate::recoverability::{BreakerPolicy, Limit, RetryPolicy, Rule};
use crate::stateful::{Described, StatefulHandler};
use crate::store::Persistence;
use crate::transport::{Declare, Transport};

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
    breakers: BTreeMap<String, BreakerPolicy>,
    limits: BTreeMap<&'static str, Limit>,
    has_adjustable_limits: bool,
    has_operable_order: bool,
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
            breakers: BTreeMap::new(),
            limits: BTreeMap::new(),
            has_adjustable_limits: false,
            has_operable_order: false,
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

    /// When the circuit breaker of a destination opens that handlers name with [`Handler::depends_on`].
    pub fn breaker(mut self, destination: impl Into<String>, policy: BreakerPolicy) -> Self {
        self.breakers.insert(destination.into(), policy);
        self
    }

    /// How much of the messages of type `M` is handled at once, and in a while; the rest waits, at no cost to it.
    pub fn limit<M: Message>(mut self, limit: Limit) -> Self {
        self.limits.insert(M::NAME, limit);
        self
    }

    /// Takes [`ChangeLimit`], which changes a limit that was set with [`EndpointBuilder::limit`] while the endpoint runs.
    /// Whoever may send to its queue may send that.
    pub fn adjustable_limits(mut self) -> Self {
        self.has_adjustable_limits = true;
        self
    }

    /// Takes [`LetPass`], which lets messages pass that wait in order behind one that was discarded from the error queue. Whoever may
    /// send to its queue may send that.
    pub fn operable_order(mut self) -> Self {
        self.has_operable_order = true;
        self
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

    /// How the participants with state look that were added, drawn for people.
    #[must_use]
    pub fn described(&self) -> Vec<Described> {
        self.registry.described()
    }

    /// Checks everything, opens the store, and prepares the broker.
    ///
    /// # Errors
    /// [`EndpointErrorKind::Configuration`](crate::endpoint::EndpointErrorKind::Configuration) with all faults; else what the store or the broker said.
    pub async fn build(self) -> Result<Endpoint, EndpointError> {
        if let Some(what) = started::to_tell() {
            let text = format!(
                "run the endpoint {:?}: this program was called with {what}, to tell something and not to run; run its endpoint \
                 with `Host`, which tells it",
                self.name
            );
            return Err(EndpointError::new(EndpointErrorKind::Configuration, text));
        }
        let adjustable: Vec<&'static str> = self.adjustable().collect();
        let shared = self.assemble().await?;
        preparing::prepare(&shared).await?;
        control::load(&shared, &adjustable).await?;
        Ok(Endpoint::new(shared))
    }

    /// Checks everything and opens the store, to say what would become of messages. Nothing is written, and the broker is not
    /// touched.
    ///
    /// # Errors
    /// [`EndpointErrorKind::Configuration`](crate::endpoint::EndpointErrorKind::Configuration) with all faults; else what the store said: an embedded database can't be opened
    /// while its endpoint runs.
    pub async fn rehearsal(self) -> Result<Rehearsal, EndpointError> {
        Ok(Rehearsal::new(self.assemble().await?))
    }

    /// Checks everything and opens the store.
    async fn assemble(mut self) -> Result<Arc<Shared>, EndpointError> {
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
        let gates = Arc::new(self.gates());
        self.take_changes(&gates);
        let order = self.take_order();
        let statuses = super::stats::Statuses::of(self.registry.statuses());
        let permits = Semaphore::new(self.settings.concurrency.min(Semaphore::MAX_PERMITS));
        let shared = Arc::new(Shared {
            name,
            error_queue,
            host: self.host.take().unwrap_or_else(preparing::host_name),
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
            gates,
            permits,
            queue: super::dispatcher::DispatchQueue::default(),
            marks: super::marks::Marks::default(),
            begun: super::begun::Begun::default(),
            given_back: super::given_back::GivenBack::default(),
            unsent: super::unsent::Unsent::default(),
            relay: super::relay::RelaySignal::default(),
            counters: super::stats::Counters::default(),
            times: super::stats::Times::default(),
            statuses,
            alarms: super::alarms::Alarms::default(),
            fatal: super::shared::Fatal::default(),
            #[cfg(feature = "simulation")]
            probing: self.probing,
        });
        if let Some(order) = order {
            order.belongs_to(&shared);
        }
        Ok(shared)
    }

    /// Builds the endpoint and runs it until `stop` resolves.
    ///
    /// # Errors
    /// See [`EndpointBuilder::build`] and [`Endpoint::run_until`].
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send) -> Result<(), EndpointError> {
        self.build().await?.run_until(stop).await
    }

    fn take_changes(&mut self, gates: &Arc<Gates>) {
        if !self.has_adjustable_limits {
            return;
        }
        let control = LimitControl {
            gates: Arc::clone(gates),
            clock: Arc::clone(&self.clock),
        };
        self.registry.add_handler::<ChangeLimit>(control, true);
        if self.persistence.is_some() {
            self.registry.add_stateful(LimitMemory);
        }
    }

    fn take_order(&mut self) -> Option<OrderControl> {
        if !self.has_operable_order {
            return None;
        }
        let control = OrderControl::default();
        self.registry.add_handler::<LetPass>(control.clone(), true);
        Some(control)
    }

    fn adjustable(&self) -> impl Iterator<Item = &'static str> {
        let names = self.limits.keys().copied();
        names.filter(|_| self.has_adjustable_limits)
    }

    fn gates(&self) -> Gates {
        let real = |time| settings::on(&*self.clock, time);
        let policy = |policy: BreakerPolicy| BreakerPolicy {
            probe_delay: real(policy.probe_delay),
            ..policy
        };
        let default = self.settings.breaker;
        let destinations = self.registry.destinations().filter_map(|name| {
            let own = self.breakers.get(&**name).copied();
            Some((Arc::clone(name), policy(own.or(default)?)))
        });
        let taken = usize::from(self.settings.prefetch).max(self.settings.concurrency);
        let gates = Gates::new(default.map(policy), destinations, taken.div_ceil(2));
        for (name, limit) in &self.limits {
            gates.limit(&Arc::from(*name), *limit, real);
        }
        gates
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
        faults.extend(self.faults_of_gates());
        if self.persistence.is_none() {
            if self.has_operable_order {
                faults.push(String::from(
                    "there is no store, and so nothing waits in order: add `.persistence(…)`, or take `.operable_order()` out",
                ));
            }
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

impl EndpointBuilder {
    fn faults_of_gates(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, limit) in &self.limits {
            if let Some(fault) = limit.fault() {
                faults.push(format!("the limit of {name} can't be kept: {fault}"));
            }
            if self.registry.get(name).is_none() {
                faults.push(format!(
                    "there is a limit for {name}, which nothing handles: add `.handler::<…>(…)`, or take the limit out"
                ));
            }
        }
        for name in self.breakers.keys() {
            if !self.registry.destinations().any(|known| **known == **name) {
                faults.push(format!(
                    "there is a circuit breaker for {name:?}, which no handler names: let one say so with `depends_on`"
                ));
            }
        }
        faults
    }
}
