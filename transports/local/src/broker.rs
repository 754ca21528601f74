//! The embedded broker: how it is opened, and what only it can do.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Waker;

use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::envelope::Incoming;
use longhaul_core::ids::MessageId;
use longhaul_core::transport::{Accepted, Destination, TransportError};
use longhaul_embedded::Database;

use crate::claim::Claim;
use crate::commits::OnCommit;
use crate::content::Content;
use crate::journal::{self, Journal, Write};
use crate::message::Message;
use crate::options::LocalOptions;
use crate::queue::QueueLength;
use crate::shared::{Shared, check_working};
use crate::state::{State, Wanted};
use crate::{recovery, topology};

/// The most removals in one commit when a queue is deleted.
const DELETED_AT_ONCE: usize = 4_096;

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
            shared: Arc::new(Shared::new(clock, options, None, State::default())),
        }
    }

    /// A broker whose messages lie in `database`, with the default limits. Delays run on `clock`.
    ///
    /// A message is accepted once it is on disk. An acknowledgement is written within about 50 ms; one that a crash
    /// cuts short lets the message come again. After a restart everything that was not acknowledged is there again, in
    /// its order, with the rest of its delay. A message that was there at the start is counted as delivered on disk
    /// before it is handed out, so that one that ends the process again and again shows by its `redeliveries`; up to 63
    /// that stand behind it are counted with it, and the first delivery of a message in the life in which it was
    /// accepted is not counted on disk.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use longhaul_core::clock::{ManualClock, Timestamp};
    /// use longhaul_embedded::Database;
    /// use longhaul_local::LocalBroker;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
    /// let database = Database::open(directory.path().join("data"))?;
    /// let broker = LocalBroker::durable(database, Arc::new(clock))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The database already has a broker in this process, can't be read, or was written by a newer version.
    pub fn durable(database: Database, clock: Arc<dyn Clock>) -> Result<Self, TransportError> {
        Self::durable_with(database, clock, LocalOptions::default())
    }

    /// A broker whose messages lie in `database`: see [`LocalBroker::durable`]. Bodies may be as large as the database
    /// lets a value be.
    ///
    /// # Errors
    /// As [`LocalBroker::durable`].
    pub fn durable_with(
        database: Database,
        clock: Arc<dyn Clock>,
        options: LocalOptions,
    ) -> Result<Self, TransportError> {
        let claim = Claim::new(&database)?;
        // A broker that was here before may have removals under way.
        database.settle();
        let state = recovery::read(&database, clock.now())?;
        let shared = Arc::new_cyclic(|shared| {
            let journal = Journal {
                database,
                waker: Waker::from(Arc::new(OnCommit(Weak::clone(shared)))),
                claim,
            };
            Shared::new(clock, options, Some(journal), state)
        });
        Ok(Self { shared })
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
    pub async fn publish_raw(&self, queue: &Address, incoming: Incoming) -> Result<Accepted, TransportError> {
        let wanted = Wanted {
            content: Arc::new(Content::Raw(incoming)),
            to: Cow::Owned(Destination::Queue(queue.clone())),
            due: None,
        };
        let result = self.shared.accept(vec![Ok(wanted)]).await.pop();
        result.unwrap_or(Ok(Accepted::Queued))
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
    pub async fn take(&self, queue: &Address, id: &MessageId) -> Result<Option<Browsed>, TransportError> {
        let (taken, commit) = {
            let mut state = self.shared.lock();
            check_working(&state)?;
            let Some(message) = state.queues.get_mut(queue).and_then(|queue| queue.remove(id)) else {
                return Ok(None);
            };
            let commit = self.shared.commit(journal::removal(queue, &message));
            (Browsed::new(&message), commit)
        };
        self.shared.committed("take a message out", commit).await?;
        Ok(Some(taken))
    }

    /// Deletes a queue with its subscriptions and all that is in it. Its receivers and whoever sends to it get an
    /// error. Says whether it was there.
    ///
    /// # Errors
    /// It could not be made durable: after a restart some of it may be there again.
    pub async fn delete_queue(&self, queue: &Address) -> Result<bool, TransportError> {
        let commits: Vec<_> = {
            let mut state = self.shared.lock();
            check_working(&state)?;
            let Some((deleted, events)) = state.delete(queue) else {
                return Ok(false);
            };
            let mut writes: VecDeque<Write> = deleted
                .into_messages()
                .flat_map(|message| journal::removal(queue, &message))
                .chain(topology::removal(queue, events))
                .collect();
            let batches = std::iter::from_fn(|| {
                let first = journal::first_of(&mut writes, DELETED_AT_ONCE);
                (!first.is_empty()).then_some(first)
            });
            batches.filter_map(|writes| self.shared.commit(writes)).collect()
        };
        for commit in commits {
            self.shared.committed("delete the queue", Some(commit)).await?;
        }
        Ok(true)
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
