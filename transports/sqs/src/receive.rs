//! Receivers: polls that are never cut off, leases that are renewed, settlements that go out together.

mod claim;
mod keeper;
mod ledger;
mod owner;
mod poller;
mod pump;
pub(crate) mod registry;
mod turns;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use longhaul_core::{
    address::Address,
    transport::{Delivery, Receiver, ReceiverOptions, TransportError, TransportErrorKind},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};

use crate::inner::Inner;

use ledger::Ledger;
use owner::Owner;
use poller::{Helpers, Poller};
use pump::Pump;
use registry::Consumer;
use turns::Turns;

/// A message on its way to whoever receives, and whether the right to it is gone meanwhile.
type Handed = Result<(Delivery, watch::Receiver<bool>), TransportError>;

/// Takes messages from one queue.
pub(crate) struct SqsReceiver {
    name: String,
    handed: mpsc::Receiver<Handed>,
    closing: watch::Sender<bool>,
    /// The pollers, and whoever keeps the tag.
    tasks: Vec<JoinHandle<()>>,
    ledger: Arc<Ledger>,
    turns: Option<Arc<Turns>>,
    /// The longest that a poll may still take, and the limit for handing back.
    limits: (Duration, Duration),
    _open: ledger::Open,
    _consumer: Consumer,
}

/// Begins to consume a queue.
pub(crate) async fn start(
    inner: Arc<Inner>,
    source: &Address,
    options: ReceiverOptions,
) -> Result<SqsReceiver, TransportError> {
    let name = inner.names.queue(source)?;
    let found = inner.queues.look_up(&inner, &name).await;
    let url = found.map_err(|fault| fault.while_doing(&format!("consume the queue {name}")))?;
    let Some(consumer) = registry::enter(&url, options.exclusive) else {
        return Err(TransportError::new(
            TransportErrorKind::InUse,
            format!("consume the queue {name}: this program consumes it already; stop the other consumer"),
        ));
    };
    let owner = if options.exclusive {
        Owner::enter(Arc::clone(&inner), &name, &url).await?
    } else {
        None
    };
    let timing = inner.caller.timing.clone();
    let prefetch = usize::from(options.prefetch.max(1));
    let (closing, closes) = watch::channel(false);
    let (hand, handed) = mpsc::channel(prefetch + inner.pollers + 1);
    let ledger = Arc::new(Ledger::new(&timing, inner.unsettled_bytes));
    let permits = Arc::new(Semaphore::new(prefetch));
    let helpers = Arc::new(Helpers::default());
    let is_ordered = inner.names.is_ordered(source);
    let turns = is_ordered.then(|| Arc::new(Turns::new(&hand)));
    let pollers = (0..inner.pollers).map(|number| {
        let poller = Poller {
            inner: Arc::clone(&inner),
            name: name.clone(),
            number,
            helpers: Arc::clone(&helpers),
            permits: Arc::clone(&permits),
            ledger: Arc::clone(&ledger),
            turns: turns.clone(),
            hand: hand.clone(),
            closes: closes.clone(),
            _open: Ledger::open(&ledger),
        };
        tokio::spawn(poller.run())
    });
    let mut tasks: Vec<_> = pollers.collect();
    let has_pump = inner.long_delays || is_ordered;
    if has_pump {
        let pump = Pump::new(Arc::clone(&inner), source, closes.clone(), hand.clone())?;
        tasks.push(tokio::spawn(pump.run()));
    }
    if let Some(owner) = owner {
        tasks.push(tokio::spawn(owner.keep(closes, hand)));
    }
    let poll = timing.wait + timing.poll_slack + timing.credentials;
    // What came round in the last poll is sent on and deleted.
    let sending_on = match has_pump {
        true => (timing.answer + timing.credentials) * 2,
        false => Duration::ZERO,
    };
    let open = Ledger::open(&ledger);
    tokio::spawn(keeper::keep(Arc::clone(&inner), url, Arc::clone(&ledger)));
    Ok(SqsReceiver {
        name,
        handed,
        closing,
        tasks,
        ledger,
        turns,
        limits: (poll + sending_on, timing.close),
        _open: open,
        _consumer: consumer,
    })
}

#[async_trait]
impl Receiver for SqsReceiver {
    async fn receive(&mut self) -> Result<Delivery, TransportError> {
        loop {
            match self.handed.recv().await {
                Some(Ok((delivery, lost))) => {
                    if !*lost.borrow() {
                        return Ok(delivery);
                    }
                    // It waited here for too long, and somebody else has it.
                }
                Some(Err(error)) => return Err(error),
                None => {
                    return Err(TransportError::new(
                        TransportErrorKind::Closed,
                        format!(
                            "consume the queue {}: the receiver has ended; open a new one",
                            self.name
                        ),
                    ));
                }
            }
        }
    }

    async fn close(mut self: Box<Self>) -> Result<(), TransportError> {
        self.closing.send_replace(true);
        // What waits here is dropped with this, and so released; so is what the last polls bring.
        self.handed.close();
        self.turns.iter().for_each(|turns| turns.close());
        while let Ok(waiting) = self.handed.try_recv() {
            drop(waiting);
        }
        let (poll, back) = self.limits;
        let tasks = std::mem::take(&mut self.tasks);
        let ended = async {
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::error!(queue = self.name, %error, "a poller ended badly");
                }
            }
        };
        let in_time = tokio::time::timeout(poll, ended).await.is_ok()
            && tokio::time::timeout(back, self.ledger.settled()).await.is_ok();
        if in_time {
            return Ok(());
        }
        Err(TransportError::new(
            TransportErrorKind::Unknown,
            format!(
                "close the queue {}: SQS did not answer in time; what was taken comes back by itself",
                self.name
            ),
        ))
    }
}

impl Drop for SqsReceiver {
    fn drop(&mut self) {
        self.closing.send_replace(true);
        self.turns.iter().for_each(|turns| turns.close());
    }
}

impl fmt::Debug for SqsReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsReceiver")
            .field("queue", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
