//! What handling a message sends: recorded as plain data, with ids that every retry derives again.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::address::{Address, EndpointName};
use crate::clock::Timestamp;
use crate::codec::Codec;
use crate::envelope::Intent;
use crate::handler::HandlerError;
use crate::headers::{Headers, RESERVED_PREFIX};
use crate::ids::{MessageId, derived_message_id};
use crate::message::{Command, Event, Message};
use crate::reason::Reason;
use crate::store::RecordKey;

/// Records what one participant sends while it handles one message.
///
/// The n-th message that a participant of an endpoint records for an incoming one always has the same id (UUID
/// version 5 over incoming id, endpoint, participant and n), so that a retry sends nothing new.
#[derive(Debug, Clone)]
pub struct Outbound {
    cause: MessageId,
    endpoint: EndpointName,
    participant: Arc<str>,
    codec: Arc<dyn Codec>,
    messages: Vec<Outgoing>,
    timeouts: Vec<TimeoutRequest>,
    fault: Option<(Reason, String)>,
}

/// A message that was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Its id.
    pub id: MessageId,
    /// Its wire name.
    pub type_name: Cow<'static, str>,
    /// What is wanted with it.
    pub intent: Intent,
    /// Its body.
    pub body: Bytes,
    /// The queue asked for; `None`: by route, by subscription, or to whoever asked.
    pub to: Option<Address>,
    /// When it is to arrive; `None`: at once.
    pub delay: Option<Delay>,
    /// The message that it answers; `None`: for a reply, the one being handled.
    pub correlation: Option<MessageId>,
    /// Headers beside the ones that the runtime sets; a name that begins with `longhaul.` makes the handling fail.
    pub headers: Headers,
    /// What a participant with state says of the parts of sender and receiver: only the runtime's own set it.
    #[doc(hidden)]
    pub parts: Headers,
    /// A header of the runtime's that was asked for, which makes the handling fail.
    reserved: Option<String>,
}

/// When a message is to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// So long after now.
    After(Duration),
    /// At that time.
    At(Timestamp),
}

impl Delay {
    /// The time, seen from `now`.
    #[must_use]
    pub fn due(self, now: Timestamp) -> Timestamp {
        match self {
            Self::After(duration) => now + duration,
            Self::At(time) => time,
        }
    }
}

/// A timeout that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeoutRequest {
    /// Its id, which names it in listings and cancels it.
    pub id: MessageId,
    /// The record that it belongs to.
    pub owner: RecordKey,
    /// What it is called, for listings.
    pub name: String,
    /// The wire name under which its alarm is handled.
    pub type_name: Cow<'static, str>,
    /// What its alarm says.
    pub body: Bytes,
    /// When it fires: strictly after this instant, so that messages of the same instant come first.
    pub due: Timestamp,
    /// Headers of its alarm.
    pub headers: Headers,
}

impl Outbound {
    /// Nothing recorded yet, for `participant` of `endpoint` handling the message `cause`.
    #[must_use]
    pub fn new(
        cause: MessageId,
        endpoint: EndpointName,
        participant: Arc<str>,
        codec: Arc<dyn Codec>,
    ) -> Self {
        Self {
            cause,
            endpoint,
            participant,
            codec,
            messages: Vec::new(),
            timeouts: Vec::new(),
            fault: None,
        }
    }

    /// The codec that bodies are written with.
    #[must_use]
    pub fn codec(&self) -> &dyn Codec {
        &*self.codec
    }

    /// Records a command, for its owner by route.
    pub fn send<C: Command>(&mut self, command: &C) -> &mut Outgoing {
        self.record(command, Intent::Send)
    }

    /// Records an event, for its subscribers.
    pub fn publish<E: Event>(&mut self, event: &E) -> &mut Outgoing {
        self.record(event, Intent::Publish)
    }

    /// Records a reply; unless `to` is set, it goes to the sender of the message being handled.
    pub fn reply<M: Message>(&mut self, reply: &M) -> &mut Outgoing {
        self.record(reply, Intent::Reply)
    }

    fn record<M: Message>(&mut self, message: &M, intent: Intent) -> &mut Outgoing {
        let body = self.encode(message);
        self.record_encoded(Cow::Borrowed(M::NAME), intent, body)
    }

    /// Writes a value with the codec; one that can't be written makes the whole handling fail.
    pub fn encode<T: serde::Serialize>(&mut self, value: &T) -> Bytes {
        self.codec.encode(value).unwrap_or_else(|fault| {
            self.fail(Reason::Unsendable, fault.to_string());
            Bytes::new()
        })
    }

    /// Records a message whose body is already written, for participants that keep messages to send them later.
    pub fn record_encoded(
        &mut self,
        type_name: Cow<'static, str>,
        intent: Intent,
        body: Bytes,
    ) -> &mut Outgoing {
        let id = self.next_id("message", self.messages.len());
        let at = self.messages.len();
        self.messages.push(Outgoing {
            id,
            type_name,
            intent,
            body,
            to: None,
            delay: None,
            correlation: None,
            headers: Headers::new(),
            parts: Headers::new(),
            reserved: None,
        });
        &mut self.messages[at]
    }

    /// Records a timeout of `owner`; `id` is set here and returned.
    pub fn request_timeout(&mut self, mut request: TimeoutRequest) -> MessageId {
        request.id = self.next_timeout_id();
        let id = request.id.clone();
        self.timeouts.push(request);
        id
    }

    /// The id that the next timeout recorded will have.
    #[must_use]
    pub fn next_timeout_id(&self) -> MessageId {
        self.next_id("timeout", self.timeouts.len())
    }

    fn next_id(&self, what: &str, ordinal: usize) -> MessageId {
        let parts = [
            what,
            self.cause.as_str(),
            self.endpoint.as_str(),
            &self.participant,
        ];
        derived_message_id(&parts, ordinal as u64)
    }

    /// Makes the whole handling fail for good; the first fault stays.
    pub fn fail(&mut self, reason: Reason, text: impl Into<String>) {
        self.fault.get_or_insert_with(|| (reason, text.into()));
    }

    /// Takes back a recorded timeout that was not committed yet. Returns whether there was one.
    pub fn withdraw_timeout(&mut self, id: &MessageId) -> bool {
        // The ordinal of later timeouts must not shift, so the request stays, marked by an empty owner.
        let Some(request) = self
            .timeouts
            .iter_mut()
            .find(|request| request.id == *id && !request.is_withdrawn())
        else {
            return false;
        };
        request.owner = RecordKey::new("", "");
        true
    }

    /// What was recorded so far.
    #[must_use]
    pub fn messages(&self) -> &[Outgoing] {
        &self.messages
    }

    /// The timeouts asked for so far and not taken back.
    pub fn timeouts(&self) -> impl Iterator<Item = &TimeoutRequest> {
        self.timeouts.iter().filter(|request| !request.is_withdrawn())
    }

    /// What was recorded, if all of it can be sent.
    ///
    /// # Errors
    /// The first fault: a value without a form in the codec, a reserved header.
    pub fn finish(self) -> Result<(Vec<Outgoing>, Vec<TimeoutRequest>), HandlerError> {
        if let Some((reason, text)) = self.fault {
            return Err(HandlerError::permanent(text).with_reason(reason));
        }
        if let Some(name) = self.messages.iter().find_map(Outgoing::reserved_header) {
            let text = format!(
                "send a message with the header {name:?}: names that begin with `longhaul.` are reserved"
            );
            return Err(HandlerError::permanent(text).with_reason(Reason::Unsendable));
        }
        let timeouts = self
            .timeouts
            .into_iter()
            .filter(|request| !request.is_withdrawn())
            .collect();
        Ok((self.messages, timeouts))
    }
}

impl TimeoutRequest {
    fn is_withdrawn(&self) -> bool {
        self.owner.collection.is_empty()
    }
}

impl Outgoing {
    /// To this queue, whatever the routes say.
    pub fn to(&mut self, queue: Address) -> &mut Self {
        self.to = Some(queue);
        self
    }

    /// To arrive so long after now.
    pub fn after(&mut self, duration: Duration) -> &mut Self {
        self.delay = Some(Delay::After(duration));
        self
    }

    /// To arrive at that time.
    pub fn at(&mut self, time: Timestamp) -> &mut Self {
        self.delay = Some(Delay::At(time));
        self
    }

    /// As the answer to that message, instead of the one being handled.
    pub fn correlates_with(&mut self, request: MessageId) -> &mut Self {
        self.correlation = Some(request);
        self
    }

    /// With a header; a name that begins with `longhaul.` makes the handling fail.
    pub fn header(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let name = name.into();
        if name.starts_with(RESERVED_PREFIX) {
            self.reserved.get_or_insert(name);
        } else {
            self.headers.set(name, value.into());
        }
        self
    }

    fn reserved_header(&self) -> Option<&str> {
        let mut names = self.headers.iter().map(|(name, _)| name);
        let set = names.find(|name| name.starts_with(RESERVED_PREFIX));
        self.reserved.as_deref().or(set)
    }
}
