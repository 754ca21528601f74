//! A queue that one process consumes alone: a tag on the queue says who, and until when.
//!
//! SQS does not know consumers. Whoever wants a queue for himself reads the tag, waits until that of a process that was
//! killed has run out, writes his own, and writes it anew as long as he consumes; one who finds another's in its place
//! gives up. Two that start in the same moment may both begin: one of them gives up with its next look.

use std::{sync::Arc, time::Duration};

use longhaul_core::{
    clock::Timestamp,
    transport::{TransportError, TransportErrorKind},
};
use tokio::sync::{mpsc, watch};

use crate::{fault::Fault, inner::Inner, receive::Handed};

const TAG: &str = "longhaul-consumer";

/// One process's tag.
#[derive(Debug)]
pub(crate) struct Owner {
    inner: Arc<Inner>,
    name: String,
    url: String,
    /// Who this is.
    me: String,
}

/// Who has a queue, and until when.
#[derive(Debug, PartialEq, Eq)]
struct Claimed {
    who: String,
    until: Timestamp,
}

impl Claimed {
    fn write(&self) -> String {
        // A tag's value takes letters, digits, spaces and a few signs, `@` among them.
        format!("{} @ {}", self.who, self.until.as_micros())
    }

    fn read(text: &str) -> Option<Self> {
        let (who, until) = text.split_once(" @ ")?;
        Some(Self {
            who: who.to_owned(),
            until: Timestamp::from_micros(until.parse().ok()?),
        })
    }
}

impl Owner {
    /// Takes the queue, or says who has it. Waits for the tag of a process that was killed. `None`: tags can't be used,
    /// which is only logged.
    pub(crate) async fn enter(
        inner: Arc<Inner>,
        name: &str,
        url: &str,
    ) -> Result<Option<Self>, TransportError> {
        let me = format!("{:016x}", inner.randomness.next_u64());
        let owner = Self {
            inner,
            name: name.to_owned(),
            url: url.to_owned(),
            me,
        };
        match owner.take().await {
            Ok(None) => Ok(Some(owner)),
            Ok(Some(other)) => Err(owner.in_use(&other)),
            Err(fault) => {
                tracing::warn!(
                    queue = name,
                    fault = fault.text,
                    "can't check that no other process consumes the queue; see to it that none does"
                );
                Ok(None)
            }
        }
    }

    /// Writes the tag anew until the receiver closes; then takes it away.
    pub(crate) async fn keep(self, mut closes: watch::Receiver<bool>, hand: mpsc::Sender<Handed>) {
        loop {
            tokio::select! {
                closed = closes.wait_for(|closes| *closes) => {
                    drop(closed);
                    break;
                }
                () = tokio::time::sleep(self.speaks_for() / 3) => {}
            }
            match self.renew().await {
                Ok(None) => {}
                Ok(Some(other)) => {
                    let error = self.in_use(&other);
                    tracing::error!(%error, "another process consumes the queue");
                    drop(hand.send(Err(error)).await);
                    return;
                }
                // The tag speaks for us a while longer.
                Err(fault) => tracing::debug!(queue = self.name, fault = fault.text, "could not renew a tag"),
            }
        }
        if let Ok(Some(found)) = self.look().await
            && found.who == self.me
        {
            let request = self.inner.sqs.untag_queue().queue_url(&self.url).tag_keys(TAG);
            drop(self.inner.caller.once(request.send()).await);
        }
    }

    /// Enters; the other one where there is one.
    async fn take(&self) -> Result<Option<Claimed>, Fault> {
        if let Some(found) = self.look().await? {
            let left = found.until.since(self.inner.clock.now());
            // Clocks differ: nobody's tag is waited for longer than it can be valid.
            tokio::time::sleep(self.inner.clock.to_real(left).min(self.speaks_for())).await;
            if let Some(again) = self.look().await?
                && again != found
            {
                return Ok(Some(again));
            }
        }
        self.write().await?;
        self.another().await
    }

    async fn renew(&self) -> Result<Option<Claimed>, Fault> {
        let other = self.another().await?;
        if other.is_none() {
            self.write().await?;
        }
        Ok(other)
    }

    /// Whose tag it is, where it is not ours.
    async fn another(&self) -> Result<Option<Claimed>, Fault> {
        Ok(self.look().await?.filter(|found| found.who != self.me))
    }

    async fn look(&self) -> Result<Option<Claimed>, Fault> {
        let request = || self.inner.sqs.list_queue_tags().queue_url(&self.url).send();
        let tags = self.inner.caller.again(request).await?.tags.unwrap_or_default();
        Ok(tags.get(TAG).and_then(|text| Claimed::read(text)))
    }

    async fn write(&self) -> Result<(), Fault> {
        let now = self.inner.clock.now();
        let claimed = Claimed {
            who: self.me.clone(),
            until: now + self.inner.clock.of_real(self.speaks_for()),
        };
        let text = claimed.write();
        let request = || {
            let request = self.inner.sqs.tag_queue().queue_url(&self.url);
            request.tags(TAG, &text).send()
        };
        self.inner.caller.again(request).await.map(drop)
    }

    /// How long a tag speaks for its process.
    fn speaks_for(&self) -> Duration {
        self.inner.caller.timing.tag
    }

    fn in_use(&self, other: &Claimed) -> TransportError {
        TransportError::new(
            TransportErrorKind::InUse,
            format!(
                "consume the queue {}: another process ({}) consumes it, and this endpoint's store belongs to one \
                 process; stop the other, or use a store that processes share",
                self.name, other.who
            ),
        )
    }
}

#[cfg(test)]
mod tests;
