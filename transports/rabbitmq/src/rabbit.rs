//! The transport: what an endpoint asks for, put together from the publisher, the consumers and the declarations.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use longhaul_core::{
    address::Address,
    clock::Clock,
    transport::{
        Capabilities, Declare, Destination, Dispatch, Health, Receiver, ReceiverOptions, Report, Topology,
        Transport, TransportError, TransportErrorKind,
    },
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    builder::RabbitMqBuilder,
    declare::Declarer,
    delay::{DelayError, DelayTopology},
    health::HealthBoard,
    link::{Link, Target},
    names::Names,
    plan::{Binding, Plan},
    properties::{self, Misfit},
    publish::{Outcome, Outgoing, Publisher, Refusing, Route, WINDOW_MESSAGES},
    receive::{self, ConsumerSettings},
};

/// What AMQP allows in the name of an exchange, in bytes.
const NAME_BYTES: usize = 255;

/// Endpoints on RabbitMQ.
///
/// It keeps two connections: one that only publishes and one that only consumes, since the broker stops whoever
/// publishes when it runs out of memory or disk space, and acknowledgements must go on.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use longhaul_rabbitmq::RabbitMq;
///
/// let transport = RabbitMq::connect("amqp://localhost").await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RabbitMq {
    pub(crate) target: Arc<Target>,
    pub(crate) names: Names,
    pub(crate) delays: DelayTopology,
    pub(crate) max_body: usize,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) publisher: Mutex<Option<Publisher>>,
    /// The publisher's task.
    pub(crate) publishing: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    pub(crate) consumers: Arc<ConsumerSettings>,
    pub(crate) create: Arc<AtomicBool>,
    pub(crate) health: Arc<HealthBoard>,
    pub(crate) refusing: Arc<Mutex<HashMap<String, Refusing>>>,
    pub(crate) frame_bytes: Arc<AtomicUsize>,
}

impl RabbitMq {
    /// Connects with the defaults.
    ///
    /// # Errors
    ///
    /// The address is bad or would send the password unencrypted to another machine; the broker can't be reached or
    /// refuses the login.
    pub async fn connect(uri: &str) -> Result<Self, TransportError> {
        Self::builder(uri).connect().await
    }

    /// Sets more than the address.
    pub fn builder(uri: impl Into<String>) -> RabbitMqBuilder {
        RabbitMqBuilder::new(uri.into())
    }

    pub(crate) fn publisher(&self) -> Option<Publisher> {
        self.publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends both connections in good order. Receivers should be closed before: those that are left end.
    pub async fn close(&self) {
        let publisher = self
            .publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // The task ends when nobody can hand it anything any more.
        drop(publisher);
        self.consumers.close().await;
        let publishing = self.publishing.lock().await.take();
        if let Some(publishing) = publishing {
            let limit = self.target.timing.confirm + self.target.timing.close;
            if tokio::time::timeout(limit, publishing).await.is_err() {
                tracing::warn!("what was still being published did not end in time");
            }
        }
    }

    /// A connection for a moment, which no alarm blocks, since nothing is published on it.
    pub(crate) async fn open(&self, purpose: &str) -> Result<Link, TransportError> {
        let link = Link::open(&self.target, purpose, 0).await;
        link.map_err(|fault| fault.while_doing("connect to the broker"))
    }

    async fn apply(&self, link: &Link, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        let mut plan = self.names.plan(topology, &self.delays);
        check_names(&plan)?;
        let own = plan.clone();
        if topology.delays {
            plan = join(self.delays.plan(), plan);
        }
        let mut declarer = Declarer::new(link, &self.target.timing);
        let mut report = Report::default();
        report.present.extend(
            plan.exchanges
                .iter()
                .map(|exchange| format!("exchange {}", exchange.name)),
        );
        report
            .present
            .extend(plan.queues.iter().map(|queue| format!("queue {}", queue.name)));
        let bindings = plan
            .bindings
            .iter()
            .map(|binding| format!("binding from {}", binding.source));
        if mode == Declare::Verify {
            report.unverified.extend(bindings);
            report.unverified.extend(declarer.verify(&plan).await?);
            return Ok(report);
        }
        report.present.extend(bindings);
        declarer.create(&plan).await?;
        let retired: Vec<_> = topology
            .retired
            .iter()
            .map(|one| self.names.binding(one))
            .collect();
        declarer.unbind(&retired).await?;
        self.remember(own, &retired);
        Ok(report)
    }

    /// What to declare again after a reconnection.
    fn remember(&self, own: Plan, retired: &[Binding]) {
        let mut plan = self.consumers.plan.lock().unwrap_or_else(PoisonError::into_inner);
        *plan = join(std::mem::take(&mut *plan), own);
        plan.bindings.retain(|binding| !retired.contains(binding));
    }

    /// Where a message goes, or why it can't.
    fn route(&self, dispatch: &Dispatch) -> Result<Route, TransportError> {
        let due = dispatch
            .due
            .map(|due| due.since(self.clock.now()))
            .unwrap_or_default();
        let delay = self.clock.to_real(due);
        match &dispatch.to {
            Destination::Subscribers(event) if delay.is_zero() => {
                let exchange = self.names.event_exchange(event);
                let fits = exchange.len() <= NAME_BYTES;
                fits.then_some(Route::Event(exchange)).ok_or_else(|| {
                    invalid(format!(
                        "publish `{event}`: its name is over {NAME_BYTES} bytes; use a shorter one"
                    ))
                })
            }
            Destination::Subscribers(event) => Err(invalid(format!(
                "publish `{event}`: an event can't be delayed; send a command to yourself instead"
            ))),
            Destination::Queue(address) => {
                let address = address.as_str();
                let route = self.delays.route(self.delays.units(delay), address);
                let route = route.map_err(|error: DelayError| invalid(error.to_string()))?;
                Ok(route.map_or_else(
                    || Route::Queue(address.to_owned()),
                    |route| Route::Delayed {
                        exchange: route.exchange,
                        routing_key: route.routing_key,
                        address: address.to_owned(),
                    },
                ))
            }
        }
    }

    fn outgoing(&self, dispatch: &Dispatch) -> Result<Outgoing, TransportError> {
        let envelope = &dispatch.envelope;
        let id = &envelope.id;
        if envelope.body.len() > self.max_body {
            let most = self.max_body;
            return Err(invalid(format!(
                "send {id}: its body of {} bytes is over the limit of {most}; store the data and send its place",
                envelope.body.len()
            )));
        }
        let to = self.route(dispatch)?;
        let frame_bytes = self.frame_bytes.load(Ordering::Relaxed);
        let due = dispatch.due.filter(|_| matches!(to, Route::Delayed { .. }));
        let properties = properties::outgoing(envelope, due, frame_bytes).map_err(|misfit| match misfit {
            Misfit::LongName(bytes) => invalid(format!(
                "send {id}: the name of a header has {bytes} bytes, which AMQP can't hold; use a shorter one"
            )),
            Misfit::TooLarge { bytes, most } => invalid(format!(
                "send {id}: its headers take {bytes} bytes, over the limit of {most}; send fewer"
            )),
        })?;
        Ok(Outgoing {
            id: id.clone(),
            to,
            properties,
            body: envelope.body.clone(),
        })
    }
}

#[async_trait]
impl Transport for RabbitMq {
    fn capabilities(&self) -> Capabilities {
        // How much of the clock's time fits into one trip through the levels.
        let sample = Duration::from_secs(1_000_000);
        let speed = sample.as_secs_f64() / self.clock.to_real(sample).as_secs_f64().max(f64::MIN_POSITIVE);
        let longest = self.delays.longest().as_secs_f64() * speed;
        let longest = Duration::try_from_secs_f64(longest).unwrap_or(Duration::MAX);
        Capabilities {
            name: "rabbitmq",
            max_delay: longest,
            max_delay_storeless: longest,
            max_body: self.max_body,
            max_batch: WINDOW_MESSAGES,
            durable: true,
        }
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        self.create.store(mode == Declare::Declare, Ordering::Relaxed);
        if mode == Declare::Assume {
            return Ok(Report::default());
        }
        let link = self.open("prepare").await?;
        let report = self.apply(&link, topology, mode).await;
        link.close().await;
        report
    }

    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        let receiver = receive::start(Arc::clone(&self.consumers), source.as_str(), options).await?;
        Ok(Box::new(receiver))
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Outcome> {
        let Some(publisher) = self.publisher() else {
            return batch.iter().map(|_| Err(closed())).collect();
        };
        let mut refused = Vec::with_capacity(batch.len());
        let mut outgoing = Vec::with_capacity(batch.len());
        for dispatch in batch {
            match self.outgoing(dispatch) {
                Ok(message) => {
                    outgoing.push(message);
                    refused.push(None);
                }
                Err(error) => refused.push(Some(error)),
            }
        }
        let mut outcomes = publisher.publish(outgoing).await.into_iter();
        let unknown = || {
            Err(TransportError::new(
                TransportErrorKind::Unknown,
                "publish: no outcome was reported",
            ))
        };
        refused
            .into_iter()
            .map(|error| error.map_or_else(|| outcomes.next().unwrap_or_else(unknown), Err))
            .collect()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.watch()
    }
}

/// The first plan's objects, then those of the second that are not in it.
fn join(mut first: Plan, second: Plan) -> Plan {
    for exchange in second.exchanges {
        if !first.exchanges.contains(&exchange) {
            first.exchanges.push(exchange);
        }
    }
    for queue in second.queues {
        if !first.queues.contains(&queue) {
            first.queues.push(queue);
        }
    }
    for binding in second.bindings {
        if !first.bindings.contains(&binding) {
            first.bindings.push(binding);
        }
    }
    first
}

fn check_names(plan: &Plan) -> Result<(), TransportError> {
    let names = plan
        .exchanges
        .iter()
        .map(|exchange| &exchange.name)
        .chain(plan.queues.iter().map(|queue| &queue.name));
    for name in names {
        let fault = if name.len() > NAME_BYTES {
            format!(
                "use a name of {} bytes on the broker, which holds {NAME_BYTES}: choose a shorter one",
                name.len()
            )
        } else if name.starts_with("amq.") {
            format!(
                "use the name `{name}`: names that begin with `amq.` belong to the broker; choose another one"
            )
        } else {
            continue;
        };
        return Err(TransportError::new(TransportErrorKind::Configuration, fault));
    }
    Ok(())
}

pub(crate) fn closed() -> TransportError {
    TransportError::new(
        TransportErrorKind::Closed,
        "publish: the transport was closed; connect a new one",
    )
}

fn invalid(text: String) -> TransportError {
    TransportError::new(TransportErrorKind::Invalid, text)
}
