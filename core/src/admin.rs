//! What operators do with queues: count, look through, take out. The seam that a transport may offer beside its own.
//!
//! Nothing here sends: whoever moves a message hands it to the [transport](crate::transport::Transport) first, and takes the
//! original out once the copy is confirmed. In this order nothing is lost wherever it is cut short, and a message that is
//! there twice has the same id.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::address::Address;
use crate::clock::Timestamp;
use crate::envelope::Incoming;
use crate::transport::TransportError;

/// Operates on the queues of one broker. Object safe; every call has a time limit of its own.
#[async_trait]
pub trait QueueAdmin: fmt::Debug + Send + Sync + 'static {
    /// How a pass differs from a plain look, in words for people; `None` where there is nothing to know.
    fn caution(&self) -> Option<&'static str>;

    /// The queues that the broker tells of, at most `limit`, by name; `None` where it tells of none.
    ///
    /// # Errors
    /// The broker can't be reached, or access was refused.
    async fn queues(&self, limit: usize) -> Result<Option<Vec<Address>>, TransportError>;

    /// How many messages a queue holds.
    ///
    /// # Errors
    /// [`TransportErrorKind::Topology`](crate::transport::TransportErrorKind::Topology) where there is no such queue.
    async fn depth(&self, queue: &Address) -> Result<QueueDepth, TransportError>;

    /// Begins to look through a queue. Only one pass at a time is let through; it ends with its process.
    ///
    /// # Errors
    /// `Topology` where there is no such queue, or one that would lose messages that are looked at; `InUse` while another
    /// operator looks through it.
    async fn look_through(&self, queue: &Address) -> Result<Box<dyn Pass>, TransportError>;
}

#[async_trait]
impl<T: QueueAdmin + ?Sized> QueueAdmin for Arc<T> {
    fn caution(&self) -> Option<&'static str> {
        (**self).caution()
    }

    async fn queues(&self, limit: usize) -> Result<Option<Vec<Address>>, TransportError> {
        (**self).queues(limit).await
    }

    async fn depth(&self, queue: &Address) -> Result<QueueDepth, TransportError> {
        (**self).depth(queue).await
    }

    async fn look_through(&self, queue: &Address) -> Result<Box<dyn Pass>, TransportError> {
        (**self).look_through(queue).await
    }
}

/// One look through a queue, from its front to what was its end when it began: what comes in meanwhile is not shown. Of a queue that
/// seems to be empty, a broker whose counts are estimates may show what has come since, each message once.
///
/// Nothing is taken out but what [`Pass::remove`] names. What was shown stays at its place, or goes back to it when the pass is
/// closed or dropped, or its process ends.
#[async_trait]
pub trait Pass: fmt::Debug + Send {
    /// How many messages it expected to find when it began.
    fn expected(&self) -> u64;

    /// The next messages, at least one and at most `limit`; fewer where they are large. Empty: it is through.
    ///
    /// # Errors
    /// The broker can't be reached. The pass is over then, and what was shown goes back by itself.
    async fn next(&mut self, limit: usize) -> Result<Vec<Found>, TransportError>;

    /// Takes these out for good: on return the broker has been told and has read it. One that is gone already is fine.
    ///
    /// # Errors
    /// Some may be there still.
    async fn remove(&mut self, places: &[Place]) -> Result<(), TransportError>;

    /// Puts back what was shown and not removed, in its order, and waits (bounded) for the broker.
    ///
    /// # Errors
    /// The broker did not answer in time; what was shown goes back by itself.
    async fn close(self: Box<Self>) -> Result<(), TransportError>;
}

/// A message that a pass shows.
#[derive(Debug, Clone)]
pub struct Found {
    /// The message as it lies there.
    pub incoming: Incoming,
    /// How often the broker says it was delivered before: a hint only; looking at it may count.
    pub redeliveries: u32,
    /// Where it lies, for [`Pass::remove`].
    pub place: Place,
    /// What it waits for, where it does not lie in the queue that it is meant for.
    pub waits: Option<Waits>,
}

/// What a delayed message waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// The queue that it is meant for.
    pub to: Address,
    /// When it is to be there: not before.
    pub due: Timestamp,
}

/// Names a message within one pass. Its number means something to the transport only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

/// How many messages a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Ready to be handed out.
    pub ready: u64,
    /// Handed out and not yet settled, where the broker tells.
    pub unsettled: Option<u64>,
    /// Waiting for their time in this queue, where the broker tells.
    pub delayed: Option<u64>,
    /// Who consumes it, where the broker tells.
    pub consumers: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_seams_are_used_as_objects_it_compiles() {
        const fn _object_safe(_: &dyn QueueAdmin, _: &dyn Pass) {}
    }
}
