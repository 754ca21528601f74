//! What operators do with the queues of an embedded broker.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::address::Address;
use longhaul_core::admin::{Found, Pass, Place, QueueAdmin, QueueDepth};
use longhaul_core::transport::{TransportError, TransportErrorKind};

use crate::broker::LocalBroker;
use crate::content::Content;
use crate::journal;
use crate::shared::{Shared, check_working};

#[async_trait]
impl QueueAdmin for LocalBroker {
    fn caution(&self) -> Option<&'static str> {
        None
    }

    async fn queues(&self, limit: usize) -> Result<Option<Vec<Address>>, TransportError> {
        Ok(Some(
            self.shared.lock().queues.keys().take(limit).cloned().collect(),
        ))
    }

    async fn depth(&self, queue: &Address) -> Result<QueueDepth, TransportError> {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        let found = state.queues.get_mut(queue).ok_or_else(|| missing(queue))?;
        let lengths = found.lengths(now);
        let count = |messages: usize| u64::try_from(messages).unwrap_or(u64::MAX);
        Ok(QueueDepth {
            ready: count(lengths.ready),
            unsettled: Some(count(lengths.unsettled)),
            delayed: Some(count(lengths.delayed)),
            consumers: Some(count(found.consumers())),
        })
    }

    async fn look_through(&self, queue: &Address) -> Result<Box<dyn Pass>, TransportError> {
        let mut state = self.shared.lock();
        check_working(&state)?;
        let found = state.queues.get(queue).ok_or_else(|| missing(queue))?;
        // Handles only: the broker has the messages in memory anyway.
        let left: VecDeque<_> = found
            .waiting()
            .map(|message| Shown {
                sequence: message.sequence,
                content: Arc::clone(&message.content),
                deliveries: message.deliveries,
            })
            .collect();
        if !state.operated.insert(queue.clone()) {
            let text = format!(
                "look through the queue {queue:?}: another operator does; wait until that one is done"
            );
            return Err(TransportError::new(TransportErrorKind::InUse, text));
        }
        Ok(Box::new(LocalPass {
            shared: Arc::clone(&self.shared),
            queue: queue.clone(),
            expected: u64::try_from(left.len()).unwrap_or(u64::MAX),
            left,
        }))
    }
}

fn missing(queue: &Address) -> TransportError {
    let text = format!(
        "look at the queue {queue:?}: there is none of that name; correct it, or start its endpoint once"
    );
    TransportError::new(TransportErrorKind::Topology, text)
}

/// A message that was there when the pass began.
struct Shown {
    sequence: u64,
    content: Arc<Content>,
    deliveries: u32,
}

/// A look through one queue. It holds nobody up: what is handed out meanwhile is shown all the same.
struct LocalPass {
    shared: Arc<Shared>,
    queue: Address,
    expected: u64,
    left: VecDeque<Shown>,
}

#[async_trait]
impl Pass for LocalPass {
    fn expected(&self) -> u64 {
        self.expected
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Found>, TransportError> {
        let some = limit.max(1).min(self.left.len());
        let found = self.left.drain(..some).map(|shown| Found {
            incoming: shown.content.incoming(),
            redeliveries: shown.deliveries,
            place: Place(shown.sequence),
            waits: None,
        });
        Ok(found.collect())
    }

    async fn remove(&mut self, places: &[Place]) -> Result<(), TransportError> {
        let commit = {
            let mut state = self.shared.lock();
            check_working(&state)?;
            let Some(queue) = state.queues.get_mut(&self.queue) else {
                return Ok(());
            };
            let removed = places.iter().filter_map(|place| queue.remove_at(place.0));
            let writes: Vec<_> = removed
                .flat_map(|message| journal::removal(&self.queue, &message))
                .collect();
            if writes.is_empty() {
                return Ok(());
            }
            self.shared.commit(writes)
        };
        self.shared.committed("take messages out", commit).await
    }

    async fn close(self: Box<Self>) -> Result<(), TransportError> {
        Ok(())
    }
}

impl Drop for LocalPass {
    fn drop(&mut self) {
        self.shared.lock().operated.remove(&self.queue);
    }
}

impl fmt::Debug for LocalPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPass")
            .field("queue", &self.queue)
            .field("left", &self.left.len())
            .finish_non_exhaustive()
    }
}
