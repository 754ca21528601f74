//! A consumer of one queue.

use std::pin::{Pin, pin};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::select;
use longhaul_core::address::Address;
use longhaul_core::transport::{Delivery, Receiver, TransportError, TransportErrorKind};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::journal;
use crate::link::Link;
use crate::queue::{Count, Take, Taken};
use crate::settle::LocalSettle;
use crate::shared::{Shared, check_working};

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
            match self.look(arrival.as_mut())? {
                Take::Message(taken) => return self.hand_out(taken).await,
                Take::Full => self.link.freed().await,
                Take::Empty(None) => arrival.await,
                Take::Empty(Some(due)) => {
                    select(arrival, self.shared.clock.sleep_until(due)).await;
                }
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
    /// Takes what there is, or makes sure that an arrival is noticed.
    fn look(&self, arrival: Pin<&mut Notified<'_>>) -> Result<Take, TransportError> {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        check_working(&state)?;
        let queue = state.queues.get_mut(&self.queue);
        let take = queue.map_or(Take::Gone, |queue| queue.take(self.receiver, now));
        match &take {
            Take::Message(Taken {
                count: Count::Soon(note),
                ..
            }) => {
                let write = journal::progress(&self.queue, note);
                self.shared.write_soon(&mut state, vec![write]);
            }
            Take::Empty(_) => {
                // Under the lock, so that no arrival falls between the look and the wait.
                arrival.enable();
                self.shared.write_soon(&mut state, Vec::new());
            }
            Take::Message(_) | Take::Full | Take::Gone => {}
        }
        Ok(take)
    }

    async fn hand_out(&self, taken: Taken) -> Result<Delivery, TransportError> {
        // From here on the message goes back if the future is dropped.
        let settle = Box::new(LocalSettle {
            shared: Arc::clone(&self.shared),
            queue: self.queue.clone(),
            tag: taken.tag,
            link: Arc::clone(&self.link),
            settled: false,
        });
        if let (Count::First(notes), Some(journal)) = (&taken.count, &self.shared.journal) {
            let writes = notes.iter().map(|note| journal::progress(&self.queue, note));
            let counted = journal.database.commit(journal::batch(writes)).await;
            if let Err(error) = counted {
                // A count is only a hint: too busy to keep it is no reason to wait.
                let mut state = self.shared.lock();
                self.shared.note_failure(&mut state, &error);
                check_working(&state)?;
            }
        }
        Ok(Delivery::new(
            taken.content.incoming(),
            taken.redeliveries,
            settle,
        ))
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
