//! Takes what comes round in the queue for long delays, and sends it round again, or to the input queue for the rest.
//!
//! Where the input queue keeps order, this empties its inlet instead: what is due there goes to the input queue, and what is
//! not waits in the inlet again.
//!
//! Each message carries the time when it is due, so that what a lap takes beside its 900 s does not add up. A message is
//! deleted when SQS has confirmed the next one; where that is unclear both may go on, as everywhere with SQS.

use std::sync::Arc;

use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use longhaul_core::{address::Address, transport::TransportError};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    batch::{ENTRIES, SQS_BYTES},
    fault::{Fault, FaultKind},
    incoming::{self, FOREIGN_ID, TYPE},
    inner::Inner,
    laps::{Next, step},
    message::{Attribute, ID, MESSAGE, Written},
    ordered::Standing,
    plan::RETENTION_SECONDS,
    receive::Handed,
    send::{Kind, Outgoing, Place, in_batches, in_order},
    timing::seconds_up,
    waiting::{DELAY, Waiting},
};

/// The most attributes of a message.
const ATTRIBUTES: usize = 10;
/// How many batches are sent on at the same time.
const AT_ONCE: usize = 4;

/// One receiver's share in a queue for long delays.
#[derive(Debug)]
pub(crate) struct Pump {
    inner: Arc<Inner>,
    /// The queue in which messages go round.
    round: String,
    /// The queue that they are for.
    input: String,
    is_ordered: bool,
    closes: watch::Receiver<bool>,
    hand: mpsc::Sender<Handed>,
}

/// A message that came round.
#[derive(Debug)]
struct Turn {
    receipt: String,
    written: Written,
    /// Until when; what is not delayed is in an inlet.
    waiting: Option<Waiting>,
    standing: Option<Standing>,
}

impl Pump {
    pub(crate) fn new(
        inner: Arc<Inner>,
        source: &Address,
        closes: watch::Receiver<bool>,
        hand: mpsc::Sender<Handed>,
    ) -> Result<Self, TransportError> {
        let is_ordered = inner.names.is_ordered(source);
        let round = match is_ordered {
            true => inner.names.inlet(source)?,
            false => inner.names.delays(source)?,
        };
        let input = inner.names.queue(source)?;
        if inner.long_delays {
            tracing::info!(
                queue = round,
                "takes delays over {} s for senders without a store; what waits there is lost when this endpoint does not \
                 run for {} days",
                inner.caller.timing.lap.as_secs(),
                RETENTION_SECONDS / 86_400
            );
        }
        Ok(Self {
            inner,
            round,
            input,
            is_ordered,
            closes,
            hand,
        })
    }

    /// Pumps until the receiver closes; what was taken by then is still sent on.
    pub(crate) async fn run(mut self) {
        let mut moving: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut backoff = self.inner.caller.backoff.clone();
        let mut failing: Option<Instant> = None;
        while !*self.closes.borrow() {
            if moving.len() >= AT_ONCE {
                moving.next().await;
                continue;
            }
            // A poll that has begun is never given up for a stop: SQS may have handed out messages to it already.
            let polled = {
                let mut poll = std::pin::pin!(self.poll());
                loop {
                    tokio::select! {
                        polled = &mut poll => break polled,
                        Some(()) = moving.next(), if !moving.is_empty() => {}
                    }
                }
            };
            match polled {
                Ok(messages) => {
                    failing = None;
                    backoff.reset();
                    let turns: Vec<Turn> = messages
                        .into_iter()
                        .filter_map(|message| self.turn(message))
                        .collect();
                    if !turns.is_empty() {
                        let way = Way {
                            round: self.round.clone(),
                            input: self.input.clone(),
                            is_ordered: self.is_ordered,
                        };
                        moving.push(send_on(Arc::clone(&self.inner), way, turns).boxed());
                    }
                }
                Err(fault) => {
                    if self.lasts(&mut failing, &fault) {
                        let error = fault.while_doing(&format!("consume the queue {}", self.round));
                        drop(self.hand.send(Err(error)).await);
                        break;
                    }
                    tracing::debug!(queue = self.round, fault = fault.text, "a poll failed");
                    tokio::select! {
                        () = tokio::time::sleep(backoff.pause()) => {}
                        closed = self.closes.wait_for(|closes| *closes) => drop(closed),
                    }
                }
            }
        }
        while moving.next().await.is_some() {}
    }

    async fn poll(&self) -> Result<Vec<Message>, Fault> {
        let inner = &self.inner;
        let timing = &inner.caller.timing;
        let url = inner.queues.url(inner, &self.round).await?;
        let request = inner
            .polls
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(i32::try_from(ENTRIES).unwrap_or(1))
            .wait_time_seconds(seconds_up(timing.wait))
            .visibility_timeout(seconds_up(timing.lease))
            .message_attribute_names("All");
        let limit = timing.wait + timing.poll_slack;
        let answer = inner.caller.within(limit, request.send()).await?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// Whether a fault has lasted for so long that somebody must hear of it.
    fn lasts(&self, failing: &mut Option<Instant>, fault: &Fault) -> bool {
        if fault.kind == FaultKind::Missing {
            self.inner.queues.forget(&self.round);
        }
        if !fault.is_lasting() {
            *failing = None;
            return false;
        }
        let since = *failing.get_or_insert_with(Instant::now);
        since.elapsed() >= self.inner.caller.timing.grace
    }

    /// What a message says. In a queue in which messages go round, those of others stay where they are.
    fn turn(&self, mut message: Message) -> Option<Turn> {
        let receipt = message.receipt_handle.take();
        let native = message.message_id.clone().unwrap_or_default();
        let turn = match self.is_ordered {
            true => came_in(message, &native),
            false => came_round(message),
        };
        let turn = receipt.zip(turn).map(|(receipt, turn)| Turn { receipt, ..turn });
        if turn.is_none() {
            tracing::warn!(
                queue = self.round,
                message = native,
                "a message that is not one of ours stays in the queue for long delays: take it out"
            );
        }
        turn
    }
}

/// A message that was delayed.
fn came_round(message: Message) -> Option<Turn> {
    let mut attributes = message.message_attributes.unwrap_or_default();
    let mut text = |name: &str| attributes.remove(name).and_then(|value| value.string_value);
    let (id, packed) = (text(ID)?, text(MESSAGE)?);
    let waiting = Waiting::read(&text(DELAY)?)?;
    let written = Written {
        body: message.body?,
        attributes: vec![Attribute::ours(ID, id), Attribute::ours(MESSAGE, packed)],
    };
    Some(Turn {
        receipt: String::new(),
        written,
        waiting: Some(waiting),
        standing: None,
    })
}

/// Whatever came into an inlet, as it is.
fn came_in(message: Message, native: &str) -> Option<Turn> {
    let body = message.body.clone()?;
    let attributes = message.message_attributes.clone().unwrap_or_default();
    let attributes = attributes
        .into_iter()
        .map(|(name, value)| incoming::attribute(name, value));
    let (waiting, mut attributes): (Vec<_>, Vec<_>) =
        attributes.partition(|attribute: &Attribute| attribute.name == DELAY);
    attributes.sort_by(|one, other| one.name.cmp(&other.name));
    let has = |name: &str| attributes.iter().any(|attribute| attribute.name == name);
    // SQS's own name, which is the id of what another program has sent, changes with the queue.
    let is_named = has(FOREIGN_ID) || has(MESSAGE) || attributes.len() >= ATTRIBUTES;
    if has(TYPE) && !is_named {
        attributes.push(Attribute::ours(FOREIGN_ID, native.to_owned()));
    }
    let (incoming, _) = incoming::incoming(message);
    let waiting = waiting.first().and_then(|waiting| waiting.text.as_deref());
    let waiting = waiting.and_then(Waiting::read);
    let standing = Standing::of_incoming(&incoming, native);
    Some(Turn {
        receipt: String::new(),
        written: Written { body, attributes },
        waiting,
        standing: Some(match waiting {
            Some(waiting) => standing.due(waiting.due),
            None => standing,
        }),
    })
}

/// From where messages are sent on, and where to.
#[derive(Debug)]
struct Way {
    round: String,
    input: String,
    is_ordered: bool,
}

/// Sends messages on, each round again or to the input queue, and deletes those that SQS has there. The others come round
/// by themselves when their lease has run out.
async fn send_on(inner: Arc<Inner>, way: Way, turns: Vec<Turn>) {
    let inner = &*inner;
    let now = inner.clock.now();
    let (mut again, mut direct, mut receipts) = (Vec::new(), Vec::new(), Vec::new());
    for (at, turn) in turns.into_iter().enumerate() {
        receipts.push(turn.receipt);
        let due = turn.waiting.map(|waiting| waiting.due);
        let rest = due
            .map(|due| inner.clock.to_real(due.since(now)))
            .unwrap_or_default();
        let goes_round = match way.is_ordered {
            true => !rest.is_zero(),
            false => matches!(step(rest, inner.caller.timing.lap), Next::Lap(_)),
        };
        let list = if goes_round { &mut again } else { &mut direct };
        list.push(Outgoing {
            at,
            dispatch: None,
            written: turn.written,
            due,
            waiting: turn.waiting.filter(|_| goes_round).map(Waiting::again),
            standing: turn.standing,
        });
    }
    let (round, input) = match way.is_ordered {
        true => (Kind::Inlet, Kind::Fifo),
        false => (Kind::Round, Kind::Standard),
    };
    let (again, direct) = tokio::join!(
        to(inner, &way.round, round, &again),
        to(inner, &way.input, input, &direct)
    );
    let sent: Vec<&String> = again
        .into_iter()
        .chain(direct)
        .filter_map(|at| receipts.get(at))
        .collect();
    if !sent.is_empty()
        && let Err(fault) = delete(inner, &way.round, &sent).await
    {
        tracing::warn!(
            queue = way.round,
            fault = fault.text,
            "messages that were sent on could not be deleted, and may go on twice"
        );
    }
}

/// Sends messages to one queue. Which of them SQS has.
async fn to(inner: &Inner, queue: &str, kind: Kind, messages: &[Outgoing<'_>]) -> Vec<usize> {
    if messages.is_empty() {
        return Vec::new();
    }
    let url = match inner.queues.url(inner, queue).await {
        Ok(url) => url,
        Err(fault) => {
            tracing::warn!(queue, fault = fault.text, "messages can't be sent on yet");
            return Vec::new();
        }
    };
    let place = Place::Queue {
        name: queue.to_owned(),
        url,
        kind,
    };
    let outcomes = match kind {
        Kind::Fifo => in_order(inner, &place, messages).await,
        Kind::Standard | Kind::Round | Kind::Inlet => in_batches(inner, &place, messages, SQS_BYTES).await,
    };
    let sent = outcomes.into_iter().filter_map(|(at, outcome)| match outcome {
        Ok(_) => Some(at),
        Err(error) => {
            tracing::warn!(queue, %error, "a message can't be sent on yet");
            None
        }
    });
    sent.collect()
}

async fn delete(inner: &Inner, queue: &str, receipts: &[&String]) -> Result<(), Fault> {
    let url = inner.queues.url(inner, queue).await?;
    let mut entries = Vec::with_capacity(receipts.len());
    for (at, receipt) in receipts.iter().enumerate() {
        let entry = DeleteMessageBatchRequestEntry::builder().id(at.to_string());
        let entry = entry.receipt_handle(receipt.as_str()).build();
        entries.push(entry.map_err(|error| Fault::new(FaultKind::Refused, error.to_string()))?);
    }
    let request = || {
        let request = inner.sqs.delete_message_batch().queue_url(&url);
        request.set_entries(Some(entries.clone())).send()
    };
    let answer = inner.caller.again(request).await?;
    match answer.failed.into_iter().next() {
        None => Ok(()),
        Some(entry) => Err(Fault::of_entry(
            &entry.code,
            entry.message.as_deref(),
            entry.sender_fault,
        )),
    }
}
