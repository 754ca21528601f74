//! Reads bodies back before their messages are handed out. Messages that carry their bodies don't wait for others.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::claim_check::{BodyError, BodyErrorKind, BodyStore, CALL, Claim};
use crate::clock::{Clock, within};
use crate::headers;
use crate::transport::{Delivery, Receiver, Settle, Settled, Settlement, TransportError};

/// How many bodies are read at the same time.
const AT_ONCE: usize = 8;
/// How often a body is tried to be read before its message is given back.
const TRIES: u32 = 4;
/// The pause after the first try; doubled after each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a message whose body could not be read stays away.
const AWAY: Duration = Duration::from_secs(5);
/// What one permit stands for.
const PERMIT_BYTES: usize = 1024;

/// So many bytes in permits.
fn permits(bytes: usize) -> usize {
    // As many as can be asked for at once.
    let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
    bytes.div_ceil(PERMIT_BYTES).clamp(1, most)
}

/// What reading takes.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    pub(super) bodies: Arc<dyn BodyStore>,
    pub(super) clock: Arc<dyn Clock>,
    /// For bodies that are read and not settled.
    pub(super) room: Room,
}

/// Bytes, in permits.
#[derive(Debug, Clone)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    all: usize,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        let all = permits(bytes);
        Self {
            free: Arc::new(Semaphore::new(all)),
            all,
        }
    }
}

/// A receiver that reads bodies back.
pub(super) struct Fetching {
    receiver: Box<dyn Receiver>,
    fetcher: Fetcher,
    reading: FuturesUnordered<BoxFuture<'static, Option<Delivery>>>,
}

impl Fetching {
    pub(super) fn new(receiver: Box<dyn Receiver>, fetcher: Fetcher) -> Self {
        Self {
            receiver,
            fetcher,
            reading: FuturesUnordered::new(),
        }
    }
}

impl fmt::Debug for Fetching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetching")
            .field("receiver", &self.receiver)
            .field("reading", &self.reading.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Receiver for Fetching {
    async fn receive(&mut self) -> Result<Delivery, TransportError> {
        loop {
            // Both are cancel-safe: what is being read stays in `self`.
            let delivery = tokio::select! {
                biased;
                Some(read) = self.reading.next(), if !self.reading.is_empty() => match read {
                    Some(delivery) => return Ok(delivery),
                    None => continue,
                },
                delivery = self.receiver.receive(), if self.reading.len() < AT_ONCE => delivery?,
            };
            match Claim::of(&delivery.incoming) {
                None => return Ok(delivery),
                Some(claim) => {
                    let fetcher = self.fetcher.clone();
                    self.reading.push(Box::pin(fetcher.read(delivery, claim)));
                }
            }
        }
    }

    async fn close(self: Box<Self>) -> Result<(), TransportError> {
        // What is being read goes back first.
        drop(self.reading);
        self.receiver.close().await
    }
}

impl Fetcher {
    /// The message with its body. As it came, where the body is gone for certain; `None` where it was given back.
    async fn read(self, delivery: Delivery, claim: Claim) -> Option<Delivery> {
        let permit = self.permit(claim.bytes).await;
        let redeliveries = delivery.redeliveries;
        let (mut incoming, settlement) = delivery.into_parts();
        match self.body(claim).await {
            Ok(body) => {
                incoming.body = body;
                incoming.headers.retain(|(name, _)| name != headers::BODY);
            }
            Err(error) if error.kind() == BodyErrorKind::Missing => {
                tracing::error!(key = %claim.key, %error, "the body of a message is gone");
            }
            Err(error) => {
                tracing::warn!(key = %claim.key, %error, "the body of a message can't be read yet; the message is given back");
                drop(settlement.release(AWAY).await);
                return None;
            }
        }
        let held = Held { settlement, permit };
        Some(Delivery::new(incoming, redeliveries, Box::new(held)))
    }

    /// Room for a body; one that is larger than all room takes all of it.
    async fn permit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = permits(bytes).min(self.room.all);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let free = Arc::clone(&self.room.free);
        free.acquire_many_owned(wanted).await.ok()
    }

    async fn body(&self, claim: Claim) -> Result<Bytes, BodyError> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let got = within(&*self.clock, CALL, self.bodies.get(&claim.key, claim.bytes)).await;
            let error = match got {
                Some(Ok(body)) if claim.is_of(&body) => {
                    return Ok(body);
                }
                Some(Ok(body)) => {
                    let (have, want) = (body.len(), claim.bytes);
                    let text = format!(
                        "read a body: it has {have} bytes, and is not the one of {want} that was kept"
                    );
                    return Err(BodyError::new(BodyErrorKind::Missing, text));
                }
                Some(Err(error)) if error.kind() == BodyErrorKind::Missing => return Err(error),
                Some(Err(error)) => error,
                None => BodyError::new(
                    BodyErrorKind::Unavailable,
                    "read a body: there was no answer in time",
                ),
            };
            if attempt >= TRIES {
                return Err(error);
            }
            self.clock.sleep(self.clock.of_real(pause)).await;
            pause *= 2;
        }
        Err(BodyError::new(
            BodyErrorKind::Unavailable,
            "read a body: it was not tried",
        ))
    }
}

/// A message whose body takes room until it is settled.
struct Held {
    settlement: Settlement,
    permit: Option<OwnedSemaphorePermit>,
}

#[async_trait]
impl Settle for Held {
    async fn acknowledge(self: Box<Self>) -> Result<Settled, TransportError> {
        let Self { settlement, permit } = *self;
        drop(permit);
        settlement.acknowledge().await
    }

    async fn release(self: Box<Self>, after: Duration) -> Result<Settled, TransportError> {
        let Self { settlement, permit } = *self;
        drop(permit);
        settlement.release(after).await
    }

    fn lease_lost(&self) -> BoxFuture<'static, ()> {
        self.settlement.lease_lost()
    }
}
