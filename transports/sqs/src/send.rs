//! From a batch to results: messages are sorted by where they go, and each place gets its own in order, in as few
//! requests as the limits allow.

mod attempt;
mod in_order;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use longhaul_core::{
    address::Address,
    clock::Timestamp,
    transport::{Accepted, Destination, Dispatch, TransportError, TransportErrorKind},
};

use crate::{
    batch::{self, SNS_BYTES, SQS_BYTES},
    fault::Fault,
    inner::{Events, Inner},
    lanes::{Lane, Places},
    message::{self, Written},
    ordered::Standing,
    waiting::{self, Waiting},
};

pub(crate) use attempt::{Answer, Kind, Place, in_batches};
pub(crate) use in_order::in_order;

/// How many queues and topics are sent to at the same time by one call.
const PLACES_AT_ONCE: usize = 8;
/// What the largest body may have beside its base64: headers and their names.
const ATTRIBUTE_BYTES: usize = 64 * 1024;
/// The largest body that a sender may give: its base64 and the headers fit into SQS's limit.
pub(crate) const BODY_BYTES: usize = (SQS_BYTES - ATTRIBUTE_BYTES) / 4 * 3;

/// What became of one message.
pub(crate) type Outcome = Result<Accepted, TransportError>;

/// A message in the form of SQS, and whose result it is.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    /// Its place in the caller's batch.
    pub(crate) at: usize,
    /// What is sent here; a message that goes round was sent by somebody else.
    pub(crate) dispatch: Option<&'a Dispatch>,
    pub(crate) written: Written,
    pub(crate) due: Option<Timestamp>,
    /// It goes to a queue in which it waits, and is sent on from there.
    pub(crate) waiting: Option<Waiting>,
    /// Where it stands in a queue that keeps order.
    pub(crate) standing: Option<Standing>,
}

/// A message that can be sent: its form, where it goes, and whether it goes round first.
#[derive(Debug)]
struct Ready {
    written: Written,
    to: Vec<To>,
    waiting: Option<Waiting>,
}

/// Where a message goes, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    Queue(Kind, String),
    Topic(String),
}

impl To {
    /// The queue of an address, for a message that is not delayed.
    fn address(inner: &Inner, address: &Address) -> Result<Self, TransportError> {
        let kind = match inner.names.is_ordered(address) {
            true => Kind::Fifo,
            false => Kind::Standard,
        };
        Ok(Self::Queue(kind, inner.names.queue(address)?))
    }

    const fn is_fifo(&self) -> bool {
        matches!(self, Self::Queue(Kind::Fifo, _))
    }
}

/// Sends a batch: one result per message, in its order.
pub(crate) async fn dispatch(inner: &Inner, batch: &[Dispatch]) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = batch.iter().map(|_| None).collect();
    let mut places: BTreeMap<To, Vec<Outgoing<'_>>> = BTreeMap::new();
    for (at, dispatch) in batch.iter().enumerate() {
        match written(inner, dispatch) {
            Err(error) => outcomes[at] = Some(Err(error)),
            Ok(ready) => {
                if ready.to.is_empty() {
                    outcomes[at] = Some(Ok(Accepted::NoSubscribers));
                }
                for to in ready.to {
                    let standing = to.is_fifo().then(|| Standing::of(&dispatch.envelope));
                    places.entry(to).or_default().push(Outgoing {
                        at,
                        dispatch: Some(dispatch),
                        written: ready.written.clone(),
                        due: dispatch.due,
                        waiting: ready.waiting,
                        standing,
                    });
                }
            }
        }
    }
    let sending: Vec<_> = places
        .into_iter()
        .map(|(to, messages)| {
            // Before anything is waited for, so that calls stand in line as they were made.
            let places = places_in_line(inner, &to, &messages);
            to_place(inner, to, messages, places)
        })
        .collect();
    let mut sent = stream::iter(sending).buffer_unordered(PLACES_AT_ONCE);
    while let Some(results) = sent.next().await {
        for (at, outcome) in results {
            outcomes[at] = Some(match outcomes[at].take() {
                // One subscriber of several: the message is sent only if it is sent to all.
                Some(Err(error)) => Err(error),
                Some(Ok(_)) | None => outcome,
            });
        }
    }
    let unknown = || {
        Err(TransportError::new(
            TransportErrorKind::Unknown,
            "send: no outcome was reported",
        ))
    };
    outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(unknown))
        .collect()
}

/// The places of messages that go to a queue that keeps order.
fn places_in_line(inner: &Inner, to: &To, messages: &[Outgoing<'_>]) -> Option<Places> {
    let To::Queue(Kind::Fifo, name) = to else {
        return None;
    };
    let standings = messages.iter().filter_map(|message| message.standing.as_ref());
    let lanes: BTreeSet<Lane> = standings
        .map(|standing| (name.clone(), standing.group.clone()))
        .collect();
    Some(inner.lanes.enter(lanes))
}

async fn to_place(
    inner: &Inner,
    to: To,
    messages: Vec<Outgoing<'_>>,
    places: Option<Places>,
) -> Vec<(usize, Outcome)> {
    let most = match &to {
        To::Queue(..) => SQS_BYTES,
        To::Topic(_) => SNS_BYTES,
    };
    if let Some(places) = &places {
        places.turn().await;
    }
    let place = match &to {
        To::Queue(kind, name) => inner.queues.url(inner, name).await.map(|url| Place::Queue {
            name: name.clone(),
            url,
            kind: *kind,
        }),
        To::Topic(name) => Ok(Place::Topic(name.clone())),
    };
    match place {
        Ok(place) if to.is_fifo() => in_order(inner, &place, &messages).await,
        Ok(place) => in_batches(inner, &place, &messages, most).await,
        Err(fault) => messages
            .iter()
            .map(|message| (message.at, Err(fault.while_sending(&message.doing()))))
            .collect(),
    }
}

/// Whether a message can be sent, its due time aside.
pub(crate) fn check(inner: &Inner, dispatch: &Dispatch) -> Result<(), TransportError> {
    if is_small(dispatch) {
        return destination(inner, dispatch).map(drop);
    }
    let undelayed = Dispatch {
        due: None,
        ..dispatch.clone()
    };
    written(inner, &undelayed).map(drop)
}

/// Whether a message fits anywhere even if all of it has to be written out, so that it need not be written to know.
fn is_small(dispatch: &Dispatch) -> bool {
    /// What a byte of a header takes at most: `\u0000`.
    const WRITTEN_OUT: usize = 6;
    let envelope = &dispatch.envelope;
    let headers = envelope.headers.iter();
    let headers: usize = headers.map(|(name, value)| name.len() + value.len() + 6).sum();
    let at_most = envelope.body.len() * 4 / 3 + (headers + envelope.id.as_str().len()) * WRITTEN_OUT;
    envelope.native.is_none() && at_most < SNS_BYTES - 1024
}

/// Where a message goes that is not delayed, and the largest message there.
fn destination(inner: &Inner, dispatch: &Dispatch) -> Result<(Vec<To>, usize), TransportError> {
    match &dispatch.to {
        Destination::Queue(address) => Ok((vec![To::address(inner, address)?], SQS_BYTES)),
        Destination::Subscribers(event) => subscribers(inner, event),
    }
}

/// The message in the form of SQS and where it goes, or why it can never be sent.
fn written(inner: &Inner, dispatch: &Dispatch) -> Result<Ready, TransportError> {
    let envelope = &dispatch.envelope;
    let id = &envelope.id;
    let bytes = envelope.body.len();
    if bytes > BODY_BYTES && !message::is_passed_on(envelope) {
        return Err(invalid(format!(
            "send {id}: its body of {bytes} bytes is over the limit of {BODY_BYTES}; store the data and send its place"
        )));
    }
    let now = inner.clock.now();
    let delay = dispatch
        .due
        .map(|due| inner.clock.to_real(due.since(now)))
        .unwrap_or_default();
    let lap = inner.caller.timing.lap;
    let mut waiting = None;
    let (to, most) = match &dispatch.to {
        Destination::Queue(address) if delay > lap && !inner.long_delays => {
            return Err(invalid(format!(
                "send {id} to `{address}`: its delay of {} s is over the {} s that SQS keeps; use an endpoint with a \
                 store, where the rest waits, or SqsBuilder::long_delays here and at the endpoint",
                delay.as_secs(),
                lap.as_secs()
            )));
        }
        // A FIFO queue takes no delays.
        Destination::Queue(address) if !delay.is_zero() && inner.names.is_ordered(address) => {
            waiting = dispatch.due.map(Waiting::until);
            let inlet = To::Queue(Kind::Inlet, inner.names.inlet(address)?);
            (vec![inlet], SQS_BYTES)
        }
        Destination::Queue(address) if delay > lap => {
            waiting = dispatch.due.map(Waiting::until);
            let round = To::Queue(Kind::Round, inner.names.delays(address)?);
            (vec![round], SQS_BYTES)
        }
        Destination::Subscribers(event) if !delay.is_zero() => {
            return Err(invalid(format!(
                "publish `{event}`: an event can't be delayed; send a command to yourself instead"
            )));
        }
        Destination::Queue(_) | Destination::Subscribers(_) => destination(inner, dispatch)?,
    };
    let written = message::write(envelope)
        .map_err(|error| invalid(format!("send {id}: its headers can't be written")).with_source(error))?;
    let bytes = written.bytes() + waiting.map_or(0, |_| waiting::BYTES);
    if bytes > most {
        return Err(invalid(format!(
            "send {id}: with its headers it takes {bytes} bytes, over the limit of {most}; send less"
        )));
    }
    Ok(Ready { written, to, waiting })
}

/// Where an event goes, and the largest message there.
fn subscribers(inner: &Inner, event: &str) -> Result<(Vec<To>, usize), TransportError> {
    match &inner.events {
        Events::Topics => Ok((vec![To::Topic(inner.names.topic(event)?)], SNS_BYTES)),
        Events::ByPublisher(subscribers) => {
            let queues = subscribers.get(event).into_iter().flatten();
            let queues = queues.map(|queue| To::address(inner, queue));
            Ok((queues.collect::<Result<_, _>>()?, SQS_BYTES))
        }
    }
}

impl Outgoing<'_> {
    fn doing(&self) -> String {
        let Some(dispatch) = self.dispatch else {
            return format!("send {} on, which came by another queue", self.written.id());
        };
        let id = &dispatch.envelope.id;
        match &dispatch.to {
            Destination::Queue(address) if self.waiting.is_some() => format!(
                "send {id} to `{address}` through its queue for what waits, which its endpoint makes for delays over 900 s \
                 with SqsBuilder::long_delays, and for any with SqsBuilder::ordered"
            ),
            Destination::Queue(address) => format!("send {id} to `{address}`"),
            Destination::Subscribers(event) => format!("publish {id} as `{event}`"),
        }
    }

    /// What is told of it.
    fn outcome(&self, result: Result<Accepted, Fault>) -> Outcome {
        result.map_err(|fault| fault.while_sending(&self.doing()))
    }

    fn bytes(&self) -> usize {
        self.written.bytes() + self.waiting.map_or(0, |_| waiting::BYTES)
    }
}

fn invalid(text: String) -> TransportError {
    TransportError::new(TransportErrorKind::Invalid, text)
}

/// Cuts what goes to one place into batches.
fn cut(messages: &[Outgoing<'_>], most: usize) -> Vec<std::ops::Range<usize>> {
    let sizes: Vec<usize> = messages.iter().map(Outgoing::bytes).collect();
    batch::batches(&sizes, most)
}

#[cfg(test)]
mod tests;
