//! A consumer of one queue.

use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use longhaul_core::address::Address;
use longhaul_core::transport::{Delivery, Receiver, TransportError, TransportErrorKind};
use tokio::sync::Notify;

use crate::link::Link;
use crate::queue::{Take, Taken};
use crate::settle::LocalSettle;
use crate::shared::Shared;

#[derive(Debug)]
pub(crate) struct LocalReceiver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Address,
    pub(crate) receiver: u64,
    pub(crate) arrived: Arc<Notify>,
    pub(crate) link: Arc<Link>,
}

#[async_trait]
impl Receiver for LocalReceiver {
    async fn receive(&mut self) -> Result<Delivery, TransportError> {
        loop {
            let mut arrival = pin!(self.arrived.notified());
            let take = {
                let now = self.shared.clock.now();
                let mut state = self.shared.lock();
                let queue = state.queues.get_mut(&self.queue);
                let take = queue.map_or(Take::Gone, |queue| queue.take(self.receiver, now));
                if matches!(take, Take::Empty(_)) {
                    // Under the lock, so that no arrival falls between the look and the wait.
                    arrival.as_mut().enable();
                }
                take
            };
            match take {
                Take::Message(taken) => return Ok(self.hand_out(&taken)),
                Take::Full => self.link.freed().await,
                Take::Empty(None) => arrival.await,
                Take::Empty(Some(due)) => match select(arrival, self.shared.clock.sleep_until(due)).await {
                    Either::Left(_) | Either::Right(_) => {}
                },
                Take::Gone => return Err(self.gone()),
            }
        }
    }

    async fn close(self: Box<Self>) -> Result<(), TransportError> {
        // Dropping it leaves the queue.
        Ok(())
    }
}

impl LocalReceiver {
    fn hand_out(&self, taken: &Taken) -> Delivery {
        let settle = LocalSettle {
            shared: Arc::clone(&self.shared),
            queue: self.queue.clone(),
            tag: taken.tag,
            link: Arc::clone(&self.link),
            settled: false,
        };
        Delivery::new(taken.content.incoming(), taken.redeliveries, Box::new(settle))
    }

    fn gone(&self) -> TransportError {
        TransportError::new(
            TransportErrorKind::Topology,
            format!(
                "receive from the queue {:?}: it was deleted; prepare it and open a new receiver",
                self.queue
            ),
        )
    }
}

impl Drop for LocalReceiver {
    fn drop(&mut self) {
        self.shared.leave(&self.queue, self.receiver);
    }
}
