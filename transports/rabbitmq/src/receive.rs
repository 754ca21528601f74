//! Receiving: a supervised consumer per queue, and acknowledgements that can only reach the channel that delivered.

mod incarnation;
mod settler;
mod supervisor;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use longhaul_core::{
    envelope::Incoming,
    transport::{Delivery, Receiver, Settle, Settled, TransportError, TransportErrorKind},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

pub(crate) use incarnation::Incarnation;
use supervisor::Ending;
pub(crate) use supervisor::{ConsumerSettings, start};

/// What the supervisor hands over.
enum Taken {
    Message {
        incoming: Incoming,
        redeliveries: u32,
        ticket: Ticket,
    },
    /// Something that won't mend by itself.
    Fault(TransportError),
}

/// A consumer of one queue that reconnects by itself.
#[derive(Debug)]
pub(crate) struct QueueReceiver {
    taken: mpsc::Receiver<Taken>,
    /// Set to true: stop.
    stop: watch::Sender<bool>,
    supervisor: JoinHandle<Result<Option<Ending>, TransportError>>,
    queue: String,
    close: Duration,
}

#[async_trait]
impl Receiver for QueueReceiver {
    async fn receive(&mut self) -> Result<Delivery, TransportError> {
        loop {
            match self.taken.recv().await {
                // What came over a connection that is gone comes again.
                Some(Taken::Message { ticket, .. }) if ticket.incarnation.is_dead() => {}
                Some(Taken::Message {
                    incoming,
                    redeliveries,
                    ticket,
                }) => {
                    return Ok(Delivery::new(incoming, redeliveries, Box::new(ticket)));
                }
                Some(Taken::Fault(error)) => return Err(error),
                None => {
                    let text = format!(
                        "receive from `{}`: the receiver has ended; make a new one",
                        self.queue
                    );
                    return Err(TransportError::new(TransportErrorKind::Closed, text));
                }
            }
        }
    }

    async fn close(mut self: Box<Self>) -> Result<(), TransportError> {
        self.stop.send_replace(true);
        let limit = self.close;
        match tokio::time::timeout(limit, self.end()).await {
            Ok(Some(ended)) => ended,
            Ok(None) => Err(self.not_closed("its task failed")),
            Err(_) => {
                self.supervisor.abort();
                Err(self.not_closed("the broker did not answer in time"))
            }
        }
    }
}

impl QueueReceiver {
    /// Waits until everything is given back. `None`: a task failed.
    async fn end(&mut self) -> Option<Result<(), TransportError>> {
        // Tickets that are dropped unsettled give their messages back.
        while self.taken.recv().await.is_some() {}
        match (&mut self.supervisor).await.ok()? {
            // What was handed out and not settled keeps the channel open in the background, until it is.
            Ok(Some(Ending { incarnation, settler })) if incarnation.is_settled() => {
                settler.await.ok().map(Ok)
            }
            ended => Some(ended.map(drop)),
        }
    }

    fn not_closed(&self, why: &str) -> TransportError {
        let text = format!(
            "close the receiver of `{}`: {why}; what it held comes back by itself",
            self.queue
        );
        TransportError::new(TransportErrorKind::Unknown, text)
    }
}

impl Drop for QueueReceiver {
    fn drop(&mut self) {
        // The supervisor gives back what it holds, even if nobody waits for it.
        self.stop.send_replace(true);
    }
}

/// The right to settle one message of one incarnation. Dropped unused, it gives the message back.
struct Ticket {
    incarnation: Arc<Incarnation>,
    tag: u64,
    bytes: usize,
    used: bool,
}

impl Ticket {
    fn new(incarnation: &Arc<Incarnation>, tag: u64, bytes: usize) -> Self {
        incarnation.delivered(tag, bytes);
        Self {
            incarnation: Arc::clone(incarnation),
            tag,
            bytes,
            used: false,
        }
    }
}

#[async_trait]
impl Settle for Ticket {
    async fn acknowledge(mut self: Box<Self>) -> Result<Settled, TransportError> {
        self.used = true;
        Ok(self.incarnation.acknowledge(self.tag))
    }

    async fn release(mut self: Box<Self>, after: Duration) -> Result<Settled, TransportError> {
        self.used = true;
        Ok(self.incarnation.release(self.tag, after))
    }

    fn lease_lost(&self) -> BoxFuture<'static, ()> {
        let incarnation = Arc::clone(&self.incarnation);
        Box::pin(async move { incarnation.dead().await })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.used {
            self.incarnation.release(self.tag, Duration::ZERO);
        }
        self.incarnation.tap.give_back(self.bytes);
    }
}
