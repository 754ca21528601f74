//! Everything in one broker behind its lock: queues, subscriptions, and what may be let in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::transport::{Accepted, Destination, Dispatch, TransportError, TransportErrorKind};

use crate::content::Content;
use crate::options::LocalOptions;
use crate::queue::{Message, Queue};

/// The longest delay: ten years of 365 days and two leap days.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(3_652 * 86_400);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) queues: BTreeMap<Address, Queue>,
    pub(crate) subscriptions: BTreeMap<String, BTreeSet<Address>>,
    pub(crate) duplication: Duplication,
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

/// A message that room was made for in its queue.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) queue: Address,
    pub(crate) message: Message,
}

/// What is said about one message before any queue is looked at. `Ok` holds its due time, if that is still to come.
pub(crate) fn check(
    dispatch: &Dispatch,
    now: Timestamp,
    options: &LocalOptions,
) -> Result<Option<Timestamp>, TransportError> {
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
    let Some(due) = dispatch.due.filter(|due| *due > now) else {
        return Ok(None);
    };
    if due.since(now) > MAX_DELAY {
        return invalid(format!(
            "its due time {due} is more than {} days ahead; send it again from an alarm nearer to that time",
            MAX_DELAY.as_secs() / 86_400
        ));
    }
    if let Destination::Subscribers(event) = &dispatch.to {
        return invalid(format!(
            "an event ({event:?}) can't be delayed; delay a message to your own queue and publish the event from there"
        ));
    }
    Ok(Some(due))
}

impl State {
    /// Makes room for a message in every queue that it goes to, or in none; `into` receives the copies.
    pub(crate) fn admit(
        &mut self,
        content: &Arc<Content>,
        to: &Destination,
        due: Option<Timestamp>,
        options: &LocalOptions,
        into: &mut Vec<Arrival>,
    ) -> Result<Accepted, TransportError> {
        match to {
            Destination::Queue(queue) => {
                self.check_room(content, queue, options)?;
                self.make_room(content, queue, due, into);
            }
            Destination::Subscribers(event) => {
                let Some(queues) = self.subscriptions.get(event).cloned() else {
                    return Ok(Accepted::NoSubscribers);
                };
                for queue in &queues {
                    self.check_room(content, queue, options)?;
                }
                for queue in &queues {
                    self.make_room(content, queue, due, into);
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

    fn make_room(
        &mut self,
        content: &Arc<Content>,
        queue: &Address,
        due: Option<Timestamp>,
        into: &mut Vec<Arrival>,
    ) {
        let copies = self.duplication.copies();
        let Some(found) = self.queues.get_mut(queue) else {
            return;
        };
        for _ in 0..copies {
            into.push(Arrival {
                queue: queue.clone(),
                message: found.reserve(content, due),
            });
        }
    }

    /// Messages that room was made for join their lines.
    pub(crate) fn join(&mut self, arrivals: Vec<Arrival>, now: Timestamp) {
        for Arrival { queue, message } in arrivals {
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.join(message, now);
            }
        }
    }
}
