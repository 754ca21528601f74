//! Polls: one always, more while there is much to take. A poll that has begun is never given up for a stop, since SQS
//! may have handed out messages to it already.

use std::{sync::Arc, time::Duration};

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use longhaul_core::transport::Delivery;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};

use crate::{
    backoff::Backoff,
    batch::ENTRIES,
    fault::{Fault, FaultKind},
    incoming::incoming,
    inner::Inner,
    receive::{
        Handed,
        claim::Claim,
        ledger::{Ledger, Open},
        turns::Turns,
    },
    timing::seconds_up,
};

/// How long the polls of helpers wait: they are there for what waits already.
const HELPERS_WAIT: Duration = Duration::from_secs(1);

/// Whether the pollers beside the first one have something to do.
#[derive(Debug, Default)]
pub(crate) struct Helpers(watch::Sender<bool>);

impl Helpers {
    async fn wanted(&self) {
        // The sender is in here, so the wait can't fail.
        drop(self.0.subscribe().wait_for(|wanted| *wanted).await);
    }

    fn want(&self, wanted: bool) {
        self.0
            .send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
    }
}

/// One of a receiver's pollers.
#[derive(Debug)]
pub(crate) struct Poller {
    pub(crate) inner: Arc<Inner>,
    pub(crate) name: String,
    /// The first one has the number 0.
    pub(crate) number: usize,
    pub(crate) helpers: Arc<Helpers>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) ledger: Arc<Ledger>,
    /// Where the queue keeps order.
    pub(crate) turns: Option<Arc<Turns>>,
    pub(crate) hand: mpsc::Sender<Handed>,
    pub(crate) closes: watch::Receiver<bool>,
    pub(crate) _open: Open,
}

/// How long something has been wrong.
#[derive(Debug)]
struct Trouble {
    backoff: Backoff,
    since: Option<Instant>,
}

impl Poller {
    pub(crate) async fn run(mut self) {
        let mut trouble = Trouble {
            backoff: self.inner.caller.backoff.clone(),
            since: None,
        };
        while let Some(permits) = self.ready().await {
            let asked = permits.len();
            match self.poll(asked).await {
                Ok(messages) => {
                    trouble.backoff.reset();
                    trouble.since = None;
                    self.helpers.want(messages.len() >= ENTRIES);
                    self.hand_out(messages, permits).await;
                }
                Err(fault) => {
                    drop(permits);
                    if !self.bear(&mut trouble, fault).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits until there is something to poll for and room for it; `None` once the receiver closes.
    async fn ready(&mut self) -> Option<Vec<OwnedSemaphorePermit>> {
        let (helpers, permits, ledger, number) = (&self.helpers, &self.permits, &self.ledger, self.number);
        let room = async {
            if number > 0 {
                helpers.wanted().await;
            }
            ledger.room().await;
            let mut all = Vec::with_capacity(ENTRIES);
            all.extend(Arc::clone(permits).acquire_owned().await.ok());
            while !all.is_empty()
                && all.len() < ENTRIES
                && let Ok(more) = Arc::clone(permits).try_acquire_owned()
            {
                all.push(more);
            }
            all
        };
        let permits = tokio::select! {
            biased;
            () = closed(&mut self.closes) => return None,
            permits = room => permits,
        };
        (!permits.is_empty()).then_some(permits)
    }

    async fn poll(&self, most: usize) -> Result<Vec<Message>, Fault> {
        let timing = &self.inner.caller.timing;
        let url = self.inner.queues.url(&self.inner, &self.name).await?;
        let wait = if self.number == 0 {
            timing.wait
        } else {
            timing.wait.min(HELPERS_WAIT)
        };
        let request = self
            .inner
            .polls
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(i32::try_from(most.min(ENTRIES)).unwrap_or(1))
            .wait_time_seconds(seconds_up(wait))
            .visibility_timeout(seconds_up(timing.lease))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_attribute_names("All");
        let request = match self.turns {
            Some(_) => request.message_system_attribute_names(MessageSystemAttributeName::MessageGroupId),
            None => request,
        };
        let limit = timing.wait + timing.poll_slack;
        let answer = self.inner.caller.within(limit, request.send()).await?;
        let messages = answer.messages.unwrap_or_default();
        self.inner.caller.requests.note_poll(messages.len());
        Ok(messages)
    }

    async fn hand_out(&self, messages: Vec<Message>, permits: Vec<OwnedSemaphorePermit>) {
        let mut in_order = Vec::new();
        for (mut message, permit) in messages.into_iter().zip(permits) {
            let Some(receipt) = message.receipt_handle.take() else {
                // Without it the message can't be settled; it comes again by itself.
                tracing::warn!(queue = self.name, "a message came without a receipt");
                continue;
            };
            let bytes = message.body.as_ref().map_or(0, String::len);
            let (key, lost) = self.ledger.enter(&receipt, bytes, permit);
            let in_line = self.turns.as_ref().map(|turns| (turns, group(&message)));
            let claim = Claim {
                ledger: Arc::clone(&self.ledger),
                key,
                lost: lost.clone(),
                is_settled: false,
                turn: in_line
                    .as_ref()
                    .map(|(turns, group)| Turns::turn(turns, group, key)),
            };
            let (incoming, redeliveries) = incoming(message);
            let delivery = Delivery::new(incoming, redeliveries, Box::new(claim));
            match in_line {
                Some((_, group)) => in_order.push((group, (key, Ok((delivery, lost))))),
                // Where nobody listens any more, dropping it gives it back.
                None => drop(self.hand.send(Ok((delivery, lost))).await),
            }
        }
        if let Some(turns) = &self.turns {
            turns.enter(in_order);
        }
    }

    /// Pauses after a failure. `false`: it lasts, and was reported.
    async fn bear(&mut self, trouble: &mut Trouble, fault: Fault) -> bool {
        if fault.kind == FaultKind::Missing {
            self.inner.queues.forget(&self.name);
        }
        let error = fault.while_doing(&format!("consume the queue {}", self.name));
        if fault.is_lasting() {
            let since = *trouble.since.get_or_insert_with(Instant::now);
            if since.elapsed() >= self.inner.caller.timing.grace {
                drop(self.hand.send(Err(error)).await);
                return false;
            }
        } else {
            trouble.since = None;
        }
        tracing::debug!(%error, "a poll failed");
        self.helpers.want(false);
        tokio::select! {
            () = tokio::time::sleep(trouble.backoff.pause()) => {}
            () = closed(&mut self.closes) => {}
        }
        true
    }
}

/// The group of a message in a FIFO queue, which SQS always tells; else it is alone.
fn group(message: &Message) -> String {
    let told = message.attributes.as_ref();
    let told = told.and_then(|told| told.get(&MessageSystemAttributeName::MessageGroupId));
    let alone = || message.message_id.clone().unwrap_or_default();
    told.cloned().unwrap_or_else(alone)
}

/// Resolves when the receiver closes or is gone.
async fn closed(closes: &mut watch::Receiver<bool>) {
    drop(closes.wait_for(|closes| *closes).await);
}
