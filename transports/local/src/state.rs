//! Everything in one broker behind its lock: queues, subscriptions, and what may be let in.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::transport::{Accepted, Destination, Dispatch, TransportError, TransportErrorKind};

use crate::commits::Outstanding;
use crate::content::Content;
use crate::journal::Lazy;
use crate::message::Message;
use crate::options::LocalOptions;
use crate::queue::Queue;

/// The longest delay: ten years of 365 days and two leap days.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(3_652 * 86_400);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) queues: BTreeMap<Address, Queue>,
    pub(crate) subscriptions: BTreeMap<String, BTreeSet<Address>>,
    pub(crate) duplication: Duplication,
    /// Accepted messages on their way to the disk, in order.
    pub(crate) outstanding: VecDeque<Outstanding>,
    pub(crate) lazy: Lazy,
    /// Queues that an operator looks through.
    pub(crate) operated: BTreeSet<Address>,
    /// The broker can't go on, and why.
    pub(crate) failed: Option<String>,
    /// The highest number that a deleted queue had used: no stored message of it is taken for one of a later queue.
    last_of_deleted: u64,
}

/// Lets every n-th accepted message in twice.
#[derive(Debug, Default)]
pub(crate) struct Duplication {
    /// 0 for never.
    pub(crate) every: u64,
    accepted: u64,
}

impl Duplication {
    const fn copies(&mut self) -> usize {
        if self.every == 0 {
            return 1;
        }
        self.accepted += 1;
        if self.accepted.is_multiple_of(self.every) {
            2
        } else {
            1
        }
    }
}

/// A message to be let in, checked as far as no queue is needed for that.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) content: Arc<Content>,
    pub(crate) to: Cow<'a, Destination>,
    pub(crate) due: Option<Timestamp>,
}

/// A message that room was made for in its queue.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Which entry of its batch it comes from.
    pub(crate) entry: usize,
    pub(crate) queue: Address,
    pub(crate) message: Message,
}

/// Checks one message before any queue is looked at.
pub(crate) fn check<'a>(
    dispatch: &'a Dispatch,
    now: Timestamp,
    options: &LocalOptions,
) -> Result<Wanted<'a>, TransportError> {
    let invalid = |what: String| {
        let id = &dispatch.envelope.id;
        Err(TransportError::new(
            TransportErrorKind::Invalid,
            format!("send message {id}: {what}"),
        ))
    };
    let bytes = dispatch.envelope.body.len();
    if bytes > options.max_body {
        let most = options.max_body;
        return invalid(format!(
            "its body of {bytes} bytes is over the limit of {most}; send a reference to it instead, or raise `max_body`"
        ));
    }
    // A time already passed means now.
    let due = dispatch.due.filter(|due| *due > now);
    if let Some(due) = due.filter(|due| due.since(now) > MAX_DELAY) {
        return invalid(format!(
            "its due time {due} is more than {} days ahead; send it again from an alarm nearer to that time",
            MAX_DELAY.as_secs() / 86_400
        ));
    }
    if let (Destination::Subscribers(event), Some(_)) = (&dispatch.to, due) {
        return invalid(format!(
            "an event ({event:?}) can't be delayed; delay a message to your own queue and publish the event from there"
        ));
    }
    Ok(Wanted {
        content: Arc::new(Content::Envelope(dispatch.envelope.clone())),
        to: Cow::Borrowed(&dispatch.to),
        due,
    })
}

impl State {
    /// The queue of that name, made where it is missing.
    pub(crate) fn create(&mut self, queue: &Address) -> &mut Queue {
        let last = self.last_of_deleted;
        self.queues
            .entry(queue.clone())
            .or_insert_with(|| Queue::after(last))
    }

    /// Takes a queue and all its subscriptions away, and dismisses its receivers.
    pub(crate) fn delete(&mut self, queue: &Address) -> Option<(Queue, Vec<String>)> {
        let mut removed = self.queues.remove(queue)?;
        removed.dismiss();
        self.last_of_deleted = self.last_of_deleted.max(removed.last());
        let mut events = Vec::new();
        self.subscriptions.retain(|event, queues| {
            if queues.remove(queue) {
                events.push(event.clone());
            }
            !queues.is_empty()
        });
        Some((removed, events))
    }

    /// Makes room for a message in every queue that it goes to, or in none; `into` receives the copies.
    pub(crate) fn admit(
        &mut self,
        entry: usize,
        wanted: &Wanted<'_>,
        options: &LocalOptions,
        into: &mut Vec<Arrival>,
    ) -> Result<Accepted, TransportError> {
        match &*wanted.to {
            Destination::Queue(queue) => {
                self.check_room(&wanted.content, queue, options)?;
                self.make_room(entry, wanted, queue, into);
            }
            Destination::Subscribers(event) => {
                let Some(queues) = self.subscriptions.get(event).cloned() else {
                    return Ok(Accepted::NoSubscribers);
                };
                for queue in &queues {
                    self.check_room(&wanted.content, queue, options)?;
                }
                for queue in &queues {
                    self.make_room(entry, wanted, queue, into);
                }
            }
        }
        Ok(Accepted::Queued)
    }

    fn check_room(
        &self,
        content: &Content,
        queue: &Address,
        options: &LocalOptions,
    ) -> Result<(), TransportError> {
        let error = |kind, why: String| {
            let id = content
                .id()
                .unwrap_or(b"without an id")
                .escape_ascii()
                .to_string();
            TransportError::new(kind, format!("send message {id} to the queue {queue:?}: {why}"))
        };
        let Some(found) = self.queues.get(queue) else {
            let why = "there is none of that name; start its endpoint once, or correct the route";
            return Err(error(TransportErrorKind::Unroutable, why.to_owned()));
        };
        if found.len() >= options.max_queue_length {
            let most = options.max_queue_length;
            let why = format!(
                "it holds {most} messages and takes no more; start more consumers, or raise `max_queue_length`"
            );
            return Err(error(TransportErrorKind::Rejected, why));
        }
        if found.bytes().saturating_add(content.bytes()) > options.max_queue_bytes {
            let most = options.max_queue_bytes;
            let why =
                format!("it would hold over {most} bytes; start more consumers, or raise `max_queue_bytes`");
            return Err(error(TransportErrorKind::Rejected, why));
        }
        Ok(())
    }

    fn make_room(&mut self, entry: usize, wanted: &Wanted<'_>, queue: &Address, into: &mut Vec<Arrival>) {
        let copies = self.duplication.copies();
        let Some(found) = self.queues.get_mut(queue) else {
            return;
        };
        for _ in 0..copies {
            into.push(Arrival {
                entry,
                queue: queue.clone(),
                message: found.reserve(&wanted.content, wanted.due),
            });
        }
    }

    /// Messages that room was made for join their lines. Returns those whose queue is gone.
    pub(crate) fn join(&mut self, arrivals: Vec<Arrival>, now: Timestamp) -> Vec<Arrival> {
        let mut stranded = Vec::new();
        for arrival in arrivals {
            match self.room_of(&arrival) {
                Some(queue) => queue.join(arrival.message, now),
                None => stranded.push(arrival),
            }
        }
        stranded
    }

    /// Messages that room was made for do not come.
    pub(crate) fn turn_away(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            if let Some(queue) = self.room_of(arrival) {
                queue.unreserve(&arrival.message);
            }
        }
    }

    /// The queue that made room for it, if that is still there.
    fn room_of(&mut self, arrival: &Arrival) -> Option<&mut Queue> {
        let queue = self.queues.get_mut(&arrival.queue)?;
        queue.made_room_for(&arrival.message).then_some(queue)
    }
}
