//! Keeps one queue consumed: declares, consumes, and starts again on the first error or the end of the stream.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use longhaul_core::transport::{ReceiverOptions, TransportError, TransportErrorKind};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

use super::{Incarnation, QueueReceiver, Taken, Ticket, settler};
use crate::{
    backoff::Backoff,
    declare::{Declarer, look},
    fault::{Fault, FaultKind, within},
    health::{ConsumerHealth, HealthBoard},
    link::{Link, LinkState, Target},
    plan::Plan,
    properties,
};

/// How long a consumer that was there a moment ago may take to leave the queue.
const LEAVING: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The one connection that all consumers of a transport share. It never publishes, so an alarm never blocks it.
#[derive(Debug)]
pub(crate) struct ConsumerSettings {
    pub(crate) target: Arc<Target>,
    pub(crate) health: Arc<HealthBoard>,
    pub(crate) backoff: Backoff,
    pub(crate) link: tokio::sync::Mutex<Option<Arc<Link>>>,
    /// What to declare again before consuming again; empty where nothing may be created.
    pub(crate) plan: Mutex<Plan>,
    /// The transport was closed: no consumer starts again.
    pub(crate) closed: AtomicBool,
}

impl ConsumerSettings {
    async fn link(&self) -> Result<Arc<Link>, Fault> {
        let mut link = self.link.lock().await;
        if self.is_closed() {
            return Err(Fault::lost("the transport was closed"));
        }
        if let Some(live) = link.as_ref().filter(|link| link.is_up()) {
            return Ok(Arc::clone(live));
        }
        let live = Arc::new(Link::open(&self.target, "consume", 0).await?);
        *link = Some(Arc::clone(&live));
        Ok(live)
    }

    /// Ends the connection; consumers end with it.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let link = self.link.lock().await.take();
        if let Some(link) = link {
            link.close().await;
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn plan(&self) -> Plan {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A consumer on a channel of its own.
struct Live {
    channel: Channel,
    consumer: Consumer,
    incarnation: Arc<Incarnation>,
    /// Taken when it closes.
    settler: Option<JoinHandle<()>>,
}

impl Drop for Live {
    /// Nobody reads its channel any more: unless it closes in good order, the settler must let go of the channel too.
    fn drop(&mut self) {
        if self.settler.is_some() {
            self.incarnation.kill();
        }
    }
}

/// Starts to consume a queue.
pub(crate) async fn start(
    settings: Arc<ConsumerSettings>,
    queue: &str,
    options: ReceiverOptions,
) -> Result<QueueReceiver, TransportError> {
    let doing = format!("consume the queue `{queue}`");
    if settings.is_closed() {
        let text = format!("{doing}: the transport was closed; connect a new one");
        return Err(TransportError::new(TransportErrorKind::Closed, text));
    }
    let link = settings
        .link()
        .await
        .map_err(|fault| fault.while_doing("connect to the broker"))?;
    let health = settings.health.consumer();
    let supervisor = Supervisor {
        settings: Arc::clone(&settings),
        queue: queue.to_owned(),
        options,
        health,
    };
    let live = supervisor.consume(link).await;
    let live = live.map_err(|fault| fault.while_doing(&doing))?;
    supervisor.health.set(LinkState::Up);
    let (out, taken) = mpsc::channel(usize::from(options.prefetch.max(1)));
    let (stop, stopped) = watch::channel(false);
    let close = settings.target.timing.close;
    let supervisor = tokio::spawn(supervisor.run(live, out, stopped));
    Ok(QueueReceiver {
        taken,
        stop,
        supervisor,
        queue: queue.to_owned(),
        close,
    })
}

/// Whoever else consumes a queue. RabbitMQ does not keep others from a quorum queue, so we look: before we consume, and
/// after it, for somebody who has looked at the same time as we did.
struct Others<'a> {
    queue: &'a str,
    /// For the broker's answer to one look.
    limit: Duration,
}

impl Others<'_> {
    /// Fails where there are more than our own consumers. One that has just died gets a moment to leave.
    ///
    /// Our own must be on this channel: only then the queue knows of it before it is looked at.
    async fn are_gone(&self, channel: &Channel, own: u32) -> Result<(), Fault> {
        let deadline = Instant::now() + LEAVING;
        loop {
            let (_, consumers) = look(channel, self.queue, self.limit).await?;
            if consumers == own {
                return Ok(());
            }
            let others = consumers.saturating_sub(own);
            if Instant::now() >= deadline {
                if others == 0 {
                    return Err(Fault::lost("the queue has no leader that says who consumes it"));
                }
                return Err(Fault {
                    kind: FaultKind::Locked,
                    text: format!("it is to be consumed alone, and has {others} consumers already"),
                });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

struct Supervisor {
    settings: Arc<ConsumerSettings>,
    queue: String,
    options: ReceiverOptions,
    health: ConsumerHealth,
}

/// An incarnation that delivers nothing more, and the task that tells the broker what is still settled.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) incarnation: Arc<Incarnation>,
    pub(super) settler: JoinHandle<()>,
}

/// Why an incarnation ended.
enum End {
    Stopped,
    Dead(Fault),
}

impl Supervisor {
    async fn run(
        mut self,
        first: Live,
        out: mpsc::Sender<Taken>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<Option<Ending>, TransportError> {
        let mut backoff = self.settings.backoff.clone();
        let mut lasting_since = None;
        let mut live = Some(first);
        loop {
            let fault = match live.take() {
                Some(mut one) => match one.forward(&out, &mut stopped).await {
                    End::Stopped => {
                        drop(out);
                        return one.close(&self).await;
                    }
                    End::Dead(fault) => {
                        self.take_fewer(&one);
                        fault
                    }
                },
                None => match self.again().await {
                    Ok(one) => {
                        tracing::info!(queue = self.queue, "consuming again");
                        self.health.set(LinkState::Up);
                        backoff.reset();
                        lasting_since = None;
                        live = Some(one);
                        continue;
                    }
                    Err(fault) => fault,
                },
            };
            if self.settings.is_closed() {
                return Ok(None);
            }
            tracing::warn!(
                queue = self.queue,
                reason = fault.text,
                "not consuming; starting again"
            );
            self.health.set(LinkState::Down(fault.text.clone()));
            self.report_lasting(&fault, &mut lasting_since, &out);
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(None),
            }
        }
    }

    /// Where reading had to stop because of the size of messages, fewer of them are taken ahead from now on.
    fn take_fewer(&mut self, live: &Live) {
        if live.incarnation.tap.was_full() && self.options.prefetch > 1 {
            self.options.prefetch = (self.options.prefetch / 4).max(1);
            let prefetch = self.options.prefetch;
            tracing::warn!(
                queue = self.queue,
                prefetch,
                "messages are large: taking fewer ahead"
            );
        }
    }

    /// Connects where needed, declares everything again, consumes.
    async fn again(&self) -> Result<Live, Fault> {
        let link = self.settings.link().await?;
        let plan = self.settings.plan();
        if plan != Plan::default() {
            let mut declarer = Declarer::new(&link, &self.settings.target.timing);
            declarer.create(&plan).await.map_err(|error| Fault {
                kind: match error.kind() {
                    TransportErrorKind::Topology => FaultKind::Different,
                    TransportErrorKind::Denied => FaultKind::Denied,
                    _ => FaultKind::Lost,
                },
                text: error.to_string(),
            })?;
        }
        self.consume(link).await
    }

    /// Consumes; alone, where that is wanted. Whoever lost the queue to somebody else meanwhile waits until it is free.
    async fn consume(&self, link: Arc<Link>) -> Result<Live, Fault> {
        if !self.options.exclusive {
            return self.consume_now(link).await;
        }
        let others = Others {
            queue: &self.queue,
            limit: self.settings.target.timing.answer,
        };
        others.are_gone(&link.channel().await?, 0).await?;
        let live = self.consume_now(link).await?;
        others.are_gone(&live.channel, 1).await?;
        Ok(live)
    }

    async fn consume_now(&self, link: Arc<Link>) -> Result<Live, Fault> {
        let timing = &self.settings.target.timing;
        let channel = link.channel().await?;
        let queue =
            ShortString::try_new(self.queue.as_str()).map_err(|error| Fault::lost(error.to_string()))?;
        let prefetch = self.options.prefetch.max(1);
        // Per consumer: quorum queues refuse a limit for the whole channel.
        within(
            timing.answer,
            "the prefetch limit",
            channel.basic_qos(prefetch, BasicQosOptions { global: false }),
        )
        .await?;
        let options = BasicConsumeOptions::default();
        let consume = channel.basic_consume(queue, ShortString::default(), options, FieldTable::default());
        let consumer = within(timing.answer, "a consumer", consume).await?;
        let incarnation = Arc::new(Incarnation::new(prefetch, link.tap().clone()));
        let settler = settler::run(Arc::clone(&incarnation), channel.clone(), link, timing.clone());
        let settler = tokio::spawn(settler);
        Ok(Live {
            channel,
            consumer,
            incarnation,
            settler: Some(settler),
        })
    }

    /// Tells `receive` about a fault that has lasted for longer than the grace; after that, once per grace.
    fn report_lasting(&self, fault: &Fault, since: &mut Option<Instant>, out: &mpsc::Sender<Taken>) {
        if !fault.is_lasting() {
            *since = None;
            return;
        }
        let now = Instant::now();
        let first = *since.get_or_insert(now);
        if now - first >= self.settings.target.timing.grace {
            let error = fault.while_doing(&format!("consume the queue `{}`", self.queue));
            if out.try_send(Taken::Fault(error)).is_ok() {
                *since = Some(now);
            }
        }
    }
}

impl Live {
    /// Hands over deliveries until the end of the channel or until it is to stop.
    async fn forward(&mut self, out: &mpsc::Sender<Taken>, stopped: &mut watch::Receiver<bool>) -> End {
        let incarnation = Arc::clone(&self.incarnation);
        let mut dead = pin!(incarnation.dead());
        let mut stopped = pin!(stopped.wait_for(|stopped| *stopped));
        loop {
            let next = tokio::select! {
                biased;
                _ = &mut stopped => return End::Stopped,
                () = &mut dead => return End::Dead(Fault::lost("acknowledgements can't be sent")),
                next = self.consumer.next() => next,
            };
            let taken = match next {
                Some(Ok(delivery)) => self.taken(delivery),
                Some(Err(error)) => return End::Dead(error.into()),
                // The queue was deleted, or the broker has cancelled the consumer.
                None => return End::Dead(Fault::lost("the broker ended the consumer")),
            };
            let handed_over = tokio::select! {
                biased;
                _ = &mut stopped => return End::Stopped,
                handed_over = out.send(taken) => handed_over,
            };
            if handed_over.is_err() {
                return End::Stopped;
            }
        }
    }

    fn taken(&self, delivery: lapin::message::Delivery) -> Taken {
        let ticket = Ticket::new(&self.incarnation, delivery.delivery_tag, delivery.data.len());
        let (incoming, redeliveries) =
            properties::incoming(delivery.properties, delivery.data, delivery.redelivered);
        Taken::Message {
            incoming,
            redeliveries,
            ticket,
        }
    }

    /// Cancels the consumer and gives back what nobody has started. `None`: it has ended by itself.
    async fn close(mut self, supervisor: &Supervisor) -> Result<Option<Ending>, TransportError> {
        let limit = supervisor.settings.target.timing.close;
        let cancel = self
            .channel
            .basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        if let Err(fault) = within(limit, "cancelling the consumer", cancel).await {
            return Err(fault.while_doing(&format!("close the receiver of `{}`", supervisor.queue)));
        }
        while let Some(Ok(delivery)) = self.consumer.next().await {
            drop(self.taken(delivery));
        }
        self.incarnation.begin_closing();
        let incarnation = Arc::clone(&self.incarnation);
        let ending = |settler| Ending { incarnation, settler };
        Ok(self.settler.take().map(ending))
    }
}
