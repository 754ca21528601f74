//! The simulated broker, as an endpoint reaches it.

use std::fmt;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::envelope::{Envelope, Incoming};
use longhaul_core::headers;
use longhaul_core::probe::{Mutant, is_mutated};
use longhaul_core::transport::{
    Accepted, Capabilities, Declare, Delivery, Destination, Dispatch, Health, Receiver, ReceiverOptions,
    Report, Settle, Settled, Topology, Transport, TransportError, TransportErrorKind,
};
use tokio::sync::watch;

use crate::broker::{DELIVERIES, ERROR_QUEUE, Holder, Loan, Personality};
use crate::hub::{HOP, Incarnation, Standing, World};
use crate::plan::{Fault, Site};
use crate::trace::What;

#[derive(Debug)]
pub(crate) struct SimTransport {
    incarnation: Incarnation,
    personality: Personality,
    health: watch::Sender<Health>,
}

impl SimTransport {
    pub(crate) fn new(incarnation: Incarnation, personality: Personality) -> Self {
        Self {
            incarnation,
            personality,
            health: watch::Sender::new(Health::Connected),
        }
    }

    /// What becomes of one message at the broker.
    fn send(&self, world: &mut World, dispatch: &Dispatch) -> (Result<Accepted, TransportError>, Manner) {
        let fault = world.chooser.ask(Site::Send);
        let (is_done, manner) = match fault {
            Some(Fault::Refused) => {
                let text = "send the message: the broker is full for now";
                return (Err(error(TransportErrorKind::Rejected, text)), Manner::Prompt);
            }
            Some(Fault::Unknown { done }) => (done, Manner::Unknown),
            Some(Fault::Silence { done }) => (done, Manner::Silent),
            Some(Fault::Late(later)) => (true, Manner::Late(later)),
            _ => (true, Manner::Prompt),
        };
        let taken = if is_done {
            self.take(world, dispatch)
        } else {
            Ok(Accepted::Queued)
        };
        if matches!(manner, Manner::Unknown) {
            let text = "send the message: the connection was lost before the answer came";
            return (Err(error(TransportErrorKind::Unknown, text)), manner);
        }
        (taken, manner)
    }

    fn take(&self, world: &mut World, dispatch: &Dispatch) -> Result<Accepted, TransportError> {
        let delay = dispatch
            .due
            .map_or(Duration::ZERO, |due| due.since(self.incarnation.clock.now()));
        if delay > self.personality.longest_delay() {
            return Err(error(
                TransportErrorKind::Invalid,
                "send the message: its delay is over the broker's limit",
            ));
        }
        let queues: Vec<Address> = match &dispatch.to {
            Destination::Queue(queue) => vec![queue.clone()],
            Destination::Subscribers(event) => {
                let subscribers = world.broker.subscriptions.get(event);
                subscribers.map_or_else(Vec::new, |queues| queues.iter().cloned().collect())
            }
        };
        let envelope = Arc::new(dispatch.envelope.clone());
        if queues.is_empty() {
            let taken = What::Taken {
                envelope,
                queue: None,
                due: dispatch.due,
                local: self.incarnation.clock.now(),
            };
            self.incarnation.note(world, taken);
            return Ok(Accepted::NoSubscribers);
        }
        for queue in queues {
            self.put(world, &queue, &envelope, delay, dispatch.due)?;
        }
        Ok(Accepted::Queued)
    }

    fn put(
        &self,
        world: &mut World,
        queue: &Address,
        envelope: &Arc<Envelope>,
        delay: Duration,
        due: Option<Timestamp>,
    ) -> Result<(), TransportError> {
        if !world.broker.queues.contains_key(queue) {
            let text = format!("send the message: there is no queue {queue}");
            return Err(error(TransportErrorKind::Unroutable, &text));
        }
        let now = self.incarnation.hub.clock.now();
        let there = now + HOP + delay;
        let is_delayed = !delay.is_zero();
        // A timeout is planned in its store, for as long as it is there.
        let is_alarm = envelope.headers.get(headers::TIMEOUT_ID).is_some()
            && envelope.number(headers::GENERATION).is_none();
        let first = match world.chooser.ask(Site::Arrival) {
            Some(Fault::Late(later)) => there + later,
            Some(Fault::Twice(later)) => {
                if !is_alarm {
                    world.plan(there + later);
                }
                let again = Arc::clone(envelope);
                world.broker.take(queue, again, now, there + later, is_delayed);
                there
            }
            _ => there,
        };
        if !is_alarm {
            world.plan(first);
        }
        let taken = Arc::clone(envelope);
        world.broker.take(queue, taken, now, first, is_delayed);
        let taken = What::Taken {
            envelope: Arc::clone(envelope),
            queue: Some(queue.clone()),
            due,
            local: self.incarnation.clock.now(),
        };
        self.incarnation.note(world, taken);
        Ok(())
    }
}

/// How an answer comes back.
enum Manner {
    Prompt,
    Late(Duration),
    Unknown,
    Silent,
}

fn error(kind: TransportErrorKind, text: &str) -> TransportError {
    TransportError::new(kind, text)
}

#[async_trait]
impl Transport for SimTransport {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "simulated",
            max_delay: self.personality.longest_delay(),
            max_delay_storeless: self.personality.longest_delay(),
            max_body: 1 << 20,
            max_batch: self.personality.max_batch(),
            durable: true,
        }
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        self.incarnation.pass(HOP).await;
        let declare = |world: &mut World| {
            if mode != Declare::Declare {
                return;
            }
            for queue in topology.queues.iter().chain(&topology.error_queues) {
                world.broker.queues.entry(queue.clone()).or_default();
            }
            for wanted in &topology.subscriptions {
                let queues = world
                    .broker
                    .subscriptions
                    .entry(wanted.event.clone())
                    .or_default();
                queues.insert(wanted.queue.clone());
            }
            for retired in &topology.retired {
                if let Some(queues) = world.broker.subscriptions.get_mut(&retired.event) {
                    queues.remove(&retired.queue);
                }
            }
        };
        self.incarnation.act(declare).await;
        self.incarnation.pass(HOP).await;
        Ok(Report::default())
    }

    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        self.incarnation.pass(HOP).await;
        let process = self.incarnation.process;
        let open = |world: &mut World| world.processes[process].consumer_ended = false;
        self.incarnation.act(open).await;
        Ok(Box::new(SimReceiver {
            incarnation: self.incarnation.clone(),
            queue: source.clone(),
            prefetch: usize::from(options.prefetch),
        }))
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        self.incarnation.pass(HOP).await;
        let process = self.incarnation.process;
        let blocked = self.incarnation.act(|world| world.broker.blocked_until).await;
        if let Some(until) = blocked {
            self.incarnation.hub.clock.sleep_until(until).await;
        }
        let (sent, connection) = self
            .incarnation
            .act(|world| {
                let sent = batch.iter().map(|dispatch| self.send(world, dispatch));
                let sent: Vec<_> = sent.collect();
                (sent, world.processes[process].connection)
            })
            .await;
        let mut wait = HOP;
        for (_, manner) in &sent {
            match manner {
                Manner::Silent => pending().await,
                Manner::Late(later) => wait = wait.max(*later),
                Manner::Prompt | Manner::Unknown => {}
            }
        }
        self.incarnation.pass(wait).await;
        let answer = |world: &mut World| {
            if world.processes[process].connection != connection {
                let text = "send the message: the connection was lost before the answer came";
                return batch
                    .iter()
                    .map(|_| Err(error(TransportErrorKind::Unknown, text)))
                    .collect();
            }
            let answers: Vec<_> = sent.into_iter().map(|(answer, _)| answer).collect();
            for (dispatch, answer) in batch.iter().zip(&answers) {
                let id = dispatch.envelope.id.clone();
                let told = match answer {
                    Ok(_) => What::Confirmed(id),
                    Err(error) => What::Refused {
                        id,
                        kind: error.kind(),
                    },
                };
                self.incarnation.note(world, told);
            }
            answers
        };
        self.incarnation.act(answer).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}

#[derive(Debug)]
struct SimReceiver {
    incarnation: Incarnation,
    queue: Address,
    prefetch: usize,
}

/// What a receiver found.
enum Found {
    Loan(Loan, Holder),
    Nothing(Option<Timestamp>),
    Ended,
}

impl SimReceiver {
    fn look(&self, world: &mut World) -> Found {
        let standing = world.processes[self.incarnation.process];
        if standing.consumer_ended {
            return Found::Ended;
        }
        let holder = Holder {
            process: self.incarnation.process,
            start: self.incarnation.start,
            connection: standing.connection,
        };
        if world.broker.lent_to(&self.queue, holder) >= self.prefetch {
            return Found::Nothing(None);
        }
        let now = self.incarnation.hub.clock.now();
        loop {
            match world.broker.lend(&self.queue, holder, now) {
                Ok(loan) if loan.held.deliveries >= DELIVERIES => self.give_up(world, &loan),
                Ok(loan) => {
                    let delivered = What::Delivered {
                        queue: self.queue.clone(),
                        envelope: Arc::clone(&loan.held.envelope),
                        tag: loan.tag,
                    };
                    self.incarnation.note(world, delivered);
                    return Found::Loan(loan, holder);
                }
                Err(next) => return Found::Nothing(next),
            }
        }
    }

    fn give_up(&self, world: &mut World, loan: &Loan) {
        world.broker.settle(&self.queue, loan.tag, None);
        let envelope = Arc::clone(&loan.held.envelope);
        if let Ok(errors) = Address::new(ERROR_QUEUE) {
            let now = self.incarnation.hub.clock.now();
            world.broker.put(&errors, Arc::clone(&envelope), now);
        }
        let queue = self.queue.clone();
        self.incarnation
            .note(world, What::DeliveredTooOften { queue, envelope });
    }
}

#[async_trait]
impl Receiver for SimReceiver {
    async fn receive(&mut self) -> Result<Delivery, TransportError> {
        loop {
            let changed = {
                let queue = |world: &mut World| {
                    world
                        .broker
                        .queues
                        .get(&self.queue)
                        .map(|queue| Arc::clone(&queue.changed))
                };
                self.incarnation.act(queue).await
            };
            let Some(changed) = changed else {
                return Err(error(TransportErrorKind::Topology, "receive: the queue is gone"));
            };
            let mut changed = pin!(changed.notified());
            changed.as_mut().enable();
            let next = match self.incarnation.act(|world| self.look(world)).await {
                Found::Loan(loan, holder) => return Ok(self.delivery(loan, holder)),
                Found::Ended => {
                    return Err(error(
                        TransportErrorKind::Closed,
                        "receive: the broker ended the consumer",
                    ));
                }
                Found::Nothing(next) => next,
            };
            match next {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = self.incarnation.hub.clock.sleep_until(at) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    async fn close(self: Box<Self>) -> Result<(), TransportError> {
        self.incarnation.pass(HOP).await;
        Ok(())
    }
}

impl SimReceiver {
    fn delivery(&self, loan: Loan, holder: Holder) -> Delivery {
        let redeliveries = loan.held.deliveries;
        let incoming = Incoming::from((*loan.held.envelope).clone());
        let settle = SimSettle {
            incarnation: self.incarnation.clone(),
            queue: self.queue.clone(),
            holder,
            tag: loan.tag,
            lost: loan.lost,
            is_settled: false,
        };
        Delivery::new(incoming, redeliveries, Box::new(settle))
    }
}

struct SimSettle {
    incarnation: Incarnation,
    queue: Address,
    holder: Holder,
    tag: u64,
    lost: watch::Receiver<bool>,
    is_settled: bool,
}

impl fmt::Debug for SimSettle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSettle")
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

impl SimSettle {
    /// Settles, unless the right is gone: it belongs to one connection.
    fn settle(&self, world: &mut World, back: Option<Timestamp>) -> Settled {
        let standing = &world.processes[self.holder.process];
        let is_rabbit = world.broker.personality == Personality::Rabbit;
        if is_rabbit && standing.connection != self.holder.connection {
            return Settled::Lost;
        }
        if matches!(world.chooser.ask(Site::Settle), Some(Fault::Lost)) {
            world
                .broker
                .forget(&self.queue, self.tag, self.incarnation.hub.clock.now());
            return Settled::Done;
        }
        let Some(envelope) = world.broker.settle(&self.queue, self.tag, back) else {
            return Settled::Lost;
        };
        let settled = if back.is_some() {
            What::Released { envelope }
        } else {
            What::Acknowledged {
                queue: self.queue.clone(),
                envelope,
                tag: self.tag,
            }
        };
        self.incarnation.note(world, settled);
        Settled::Done
    }
}

#[async_trait]
impl Settle for SimSettle {
    async fn acknowledge(mut self: Box<Self>) -> Result<Settled, TransportError> {
        self.is_settled = true;
        let settled = self.incarnation.act(|world| self.settle(world, None)).await;
        Ok(settled)
    }

    async fn release(mut self: Box<Self>, after: Duration) -> Result<Settled, TransportError> {
        self.is_settled = true;
        let back = self.incarnation.hub.clock.now() + after;
        let release = |world: &mut World| {
            world.plan(back);
            self.settle(world, Some(back))
        };
        Ok(self.incarnation.act(release).await)
    }

    fn lease_lost(&self) -> BoxFuture<'static, ()> {
        let mut lost = self.lost.clone();
        Box::pin(async move {
            let gone = lost.wait_for(|lost| *lost).await.is_ok();
            if !gone {
                // It was settled: the right was used, not lost.
                pending::<()>().await;
            }
        })
    }
}

impl Drop for SimSettle {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let mut world = self.incarnation.hub.world();
        if self.incarnation.is_alive(&world) {
            let now = self.incarnation.hub.clock.now();
            world.broker.settle(&self.queue, self.tag, Some(now));
        }
    }
}

/// Whether the adapter of a process renews its loans.
pub(crate) fn renews(processes: &[Standing], holder: Holder, now: Timestamp) -> bool {
    let Some(standing) = processes.get(holder.process) else {
        return false;
    };
    standing.is_alive
        && standing.start == holder.start
        && standing.paused_until.is_none_or(|until| until <= now)
        && !is_mutated(Mutant::LeaseNotRenewed)
}
