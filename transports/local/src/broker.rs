//! The embedded broker: how it is opened, and what only it can do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::envelope::Incoming;
use longhaul_core::ids::MessageId;
use longhaul_core::transport::{Accepted, Destination, TransportError};

use crate::content::Content;
use crate::options::LocalOptions;
use crate::queue::{Message, QueueLength};
use crate::shared::Shared;
use crate::state::State;

/// The embedded broker. Clones are handles of the same one, for as many endpoints of this process as there are.
///
/// ```
/// use std::sync::Arc;
/// use bytes::Bytes;
/// use longhaul_core::address::Address;
/// use longhaul_core::clock::{ManualClock, Timestamp};
/// use longhaul_core::envelope::Envelope;
/// use longhaul_core::headers::Headers;
/// use longhaul_core::ids::MessageId;
/// use longhaul_core::transport::{Declare, Destination, Dispatch, ReceiverOptions, Topology, Transport};
/// use longhaul_local::LocalBroker;
///
/// # futures_executor::block_on(async {
/// let broker = LocalBroker::in_memory(Arc::new(ManualClock::starting_at(Timestamp::UNIX_EPOCH)));
/// let sales = Address::new("sales")?;
/// let topology = Topology { queues: vec![sales.clone()], ..Topology::default() };
/// broker.prepare(&topology, Declare::Declare).await?;
///
/// let envelope = Envelope::new(MessageId::new("order-7")?, Headers::new(), Bytes::from_static(b"{}"));
/// let order = Dispatch { envelope, to: Destination::Queue(sales.clone()), due: None };
/// for accepted in broker.dispatch(&[order]).await {
///     accepted?;
/// }
///
/// let mut receiver = broker.receiver(&sales, ReceiverOptions::default()).await?;
/// let (incoming, settlement) = receiver.receive().await?.into_parts();
/// assert_eq!(incoming.body, "{}");
/// settlement.acknowledge().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct LocalBroker {
    pub(crate) shared: Arc<Shared>,
}

impl LocalBroker {
    /// A broker whose messages end with the process, with the default limits. Delays run on `clock`.
    #[must_use]
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        Self::in_memory_with(clock, LocalOptions::default())
    }

    /// A broker whose messages end with the process.
    #[must_use]
    pub fn in_memory_with(clock: Arc<dyn Clock>, options: LocalOptions) -> Self {
        Self {
            shared: Arc::new(Shared::new(clock, options, State::default())),
        }
    }

    /// From now on lets every `n`-th accepted message in twice; 0 ends it. For demonstrations and tests: whoever
    /// handles messages must bear duplicates.
    pub fn duplicate_every(&self, n: u64) {
        self.shared.lock().duplication.every = n;
    }

    /// Puts a message in a queue as it is: without an id, with odd headers, over the limit on bodies. For tests of
    /// what reads messages.
    ///
    /// # Errors
    /// As [`Transport::dispatch`](longhaul_core::transport::Transport::dispatch) for one message to a queue.
    #[expect(clippy::unused_async, reason = "a durable broker waits for its disk")]
    pub async fn publish_raw(&self, queue: &Address, incoming: Incoming) -> Result<Accepted, TransportError> {
        let content = Arc::new(Content::Raw(incoming));
        let now = self.shared.clock.now();
        let mut arrivals = Vec::with_capacity(1);
        let mut state = self.shared.lock();
        let to = Destination::Queue(queue.clone());
        let accepted = state.admit(&content, &to, None, &self.shared.options, &mut arrivals)?;
        state.join(arrivals, now);
        Ok(accepted)
    }

    /// How many messages each queue holds.
    #[must_use]
    pub fn queue_lengths(&self) -> BTreeMap<Address, QueueLength> {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        let queues = state.queues.iter_mut();
        queues
            .map(|(name, queue)| (name.clone(), queue.lengths(now)))
            .collect()
    }

    /// How many messages a queue holds; `None` where there is no such queue.
    #[must_use]
    pub fn len(&self, queue: &Address) -> Option<usize> {
        Some(self.shared.lock().queues.get(queue)?.len())
    }

    /// The first messages of a queue that nobody holds, at most `limit`, in the order in which they would come. Takes
    /// nothing and counts nothing. `None` where there is no such queue.
    #[must_use]
    pub fn browse(&self, queue: &Address, limit: usize) -> Option<Vec<Browsed>> {
        let state = self.shared.lock();
        let waiting = state.queues.get(queue)?.waiting();
        Some(waiting.take(limit).map(Browsed::new).collect())
    }

    /// Takes the first message with that id out of a queue, unless somebody holds it. `None` where there is none.
    ///
    /// # Errors
    /// What was removed could not be made durable: the message may be there again after a restart.
    #[expect(clippy::unused_async, reason = "a durable broker waits for its disk")]
    pub async fn take(&self, queue: &Address, id: &MessageId) -> Result<Option<Browsed>, TransportError> {
        let mut state = self.shared.lock();
        let Some(queue) = state.queues.get_mut(queue) else {
            return Ok(None);
        };
        let wanted = Some(id.as_str().as_bytes());
        let found = queue.waiting().find(|message| message.content.id() == wanted);
        let Some(sequence) = found.map(|message| message.sequence) else {
            return Ok(None);
        };
        Ok(queue.remove(sequence).as_ref().map(Browsed::new))
    }

    /// Deletes a queue with all that is in it. Its receivers and whoever sends to it get an error. Says whether it was there.
    pub fn delete_queue(&self, queue: &Address) -> bool {
        let mut state = self.shared.lock();
        state.subscriptions.retain(|_, queues| {
            queues.remove(queue);
            !queues.is_empty()
        });
        let removed = state.queues.remove(queue);
        removed.map(|mut queue| queue.dismiss()).is_some()
    }
}

impl fmt::Debug for LocalBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBroker").finish_non_exhaustive()
    }
}

/// A message as [`LocalBroker::browse`] shows it.
#[derive(Debug, Clone)]
pub struct Browsed {
    /// The message as a receiver would get it.
    pub incoming: Incoming,
    /// Not before this time.
    pub due: Option<Timestamp>,
    /// How often it was handed out before.
    pub deliveries: u32,
}

impl Browsed {
    fn new(message: &Message) -> Self {
        Self {
            incoming: message.content.incoming(),
            due: message.due,
            deliveries: message.deliveries,
        }
    }
}
