//! A message that came in: read, matched with who takes it, and in line for its keys.

use std::sync::Arc;

use crate::endpoint::locks::{LockKey, Ticket};
use crate::endpoint::registry::Takers;
use crate::endpoint::shared::Shared;
use crate::envelope::{self, Envelope, Incoming, Intent};
use crate::handler::{HandlerError, HandlerResult, Received};
use crate::headers;
use crate::ids::{MessageId, derived_message_id};
use crate::reason::Reason;
use crate::stateful::StatefulHandler;
use crate::store::RecordKey;
use crate::transport::Settlement;

/// A message with the right to settle it; a timeout that fires without the broker has none.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) incoming: Incoming,
    pub(crate) settlement: Option<Settlement>,
    /// It may have ended the process before, and runs alone now.
    pub(crate) alone: bool,
}

/// A message that can be handled, with its place in line.
pub(crate) struct Ready<'a> {
    pub(crate) received: Received,
    pub(crate) takers: &'a Takers,
    /// Sorted, each once.
    pub(crate) keys: Vec<RecordKey>,
    /// Per stateful participant, where its keys stand in `keys`.
    pub(crate) places: Vec<Vec<usize>>,
    pub(crate) ticket: Ticket,
    /// It may have ended the process before, and runs alone now.
    pub(crate) alone: bool,
}

impl Ready<'_> {
    pub(crate) fn id(&self) -> &MessageId {
        &self.received.envelope.id
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.received.envelope
    }

    pub(crate) fn is_alarm(&self) -> bool {
        self.received.intent == Intent::Timeout
    }

    pub(crate) fn is_replayed(&self) -> bool {
        self.envelope().headers.get(headers::REPLAY).is_some()
    }

    /// The row that an alarm belongs to.
    pub(crate) fn row(&self) -> Option<MessageId> {
        row(self.envelope()).filter(|_| self.is_alarm())
    }
}

fn row(envelope: &Envelope) -> Option<MessageId> {
    envelope
        .headers
        .get(headers::TIMEOUT_ID)
        .and_then(|id| MessageId::new(id).ok())
}

/// A message that can't be handled, with what can be passed on of it.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) envelope: Envelope,
    pub(crate) error: HandlerError,
    /// Whether its id was readable, so that it has an inbox.
    pub(crate) has_id: bool,
}

/// Reads a message and takes its place in line, at the moment of its arrival: so messages for one key keep their order.
pub(crate) fn read<'a>(
    shared: &'a Shared,
    incoming: &Incoming,
    alone: bool,
) -> Result<Ready<'a>, Box<Rejected>> {
    let mut envelope = envelope::read(incoming, &shared.settings.limits).map_err(|fault| {
        let error = HandlerError::unreadable(fault.reason(), &fault);
        let id = incoming
            .id
            .as_deref()
            .and_then(|id| std::str::from_utf8(id).ok())
            .and_then(|id| MessageId::new(id).ok());
        Box::new(Rejected {
            has_id: id.is_some(),
            envelope: salvage(shared, incoming, id),
            error,
        })
    })?;
    let matched = matched(shared, &mut envelope);
    let (name, intent, takers) = match matched {
        Ok(matched) => matched,
        Err(error) => {
            return Err(Box::new(Rejected {
                envelope,
                error,
                has_id: true,
            }));
        }
    };
    let received = received(shared, envelope, name, intent);
    let (keys, places) = match keys(&takers.stateful, &received) {
        Ok(keys) => keys,
        Err(error) => {
            return Err(Box::new(Rejected {
                envelope: received.envelope,
                error,
                has_id: true,
            }));
        }
    };
    let mut locks: Vec<LockKey> = keys.iter().cloned().map(LockKey::Record).collect();
    locks.push(LockKey::Message(received.envelope.id.clone()));
    locks.extend(row(&received.envelope).map(LockKey::Message));
    let ticket = shared.locks.reserve(locks);
    Ok(Ready {
        received,
        takers,
        keys,
        places,
        ticket,
        alone,
    })
}

fn matched<'a>(shared: &'a Shared, envelope: &mut Envelope) -> HandlerResult<(String, Intent, &'a Takers)> {
    for step in &shared.steps {
        step.incoming(envelope)?;
    }
    let fault = |fault: envelope::Unreadable| HandlerError::unreadable(fault.reason(), fault);
    envelope.due().map_err(fault)?;
    let intent = envelope.intent().map_err(fault)?;
    let names = envelope.types().map_err(fault)?;
    let known = names
        .iter()
        .find_map(|name| shared.registry.get(name).map(|takers| (*name, takers)));
    let Some((name, takers)) = known else {
        let text = format!(
            "handle a message of type {names:?}: nothing in the endpoint {} handles it",
            shared.name
        );
        return Err(HandlerError::unreadable(Reason::UnknownType, text));
    };
    if !takers.allows(intent) {
        let text = format!(
            "handle {name} with the intent {:?}: it is of another kind",
            intent.as_str()
        );
        return Err(HandlerError::unreadable(Reason::WrongKind, text));
    }
    let content_type = envelope.headers.get(headers::CONTENT_TYPE).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(shared.codec.content_type()) {
        let shown: String = content_type.chars().take(80).collect();
        let text = format!(
            "read a body of content type {shown:?}: this endpoint reads {}",
            shared.codec.content_type()
        );
        return Err(HandlerError::unreadable(Reason::UnknownContentType, text));
    }
    Ok((name.to_owned(), intent, takers))
}

/// What participants see of a message, on its first attempt.
pub(crate) fn received(shared: &Shared, envelope: Envelope, type_name: String, intent: Intent) -> Received {
    Received {
        envelope,
        type_name,
        intent,
        endpoint: shared.name.clone(),
        now: shared.clock.now(),
        attempt: 1,
        last_chance: false,
        retention: shared.settings.retention,
        codec: Arc::clone(&shared.codec),
    }
}

fn keys(
    stateful: &[Arc<dyn StatefulHandler>],
    received: &Received,
) -> HandlerResult<(Vec<RecordKey>, Vec<Vec<usize>>)> {
    let mut wanted = Vec::with_capacity(stateful.len());
    for participant in stateful {
        wanted.push(participant.keys(received)?);
    }
    let mut keys: Vec<RecordKey> = wanted.iter().flatten().cloned().collect();
    keys.sort();
    keys.dedup();
    let place = |key: &RecordKey| keys.binary_search(key).ok();
    let places = wanted
        .iter()
        .map(|wanted| wanted.iter().filter_map(place).collect())
        .collect();
    Ok((keys, places))
}

/// As much of an unreadable message as an envelope holds; the transport's own properties keep the rest.
fn salvage(shared: &Shared, raw: &Incoming, id: Option<MessageId>) -> Envelope {
    let id = id.unwrap_or_else(|| {
        let body = String::from_utf8_lossy(&raw.body);
        let id = raw.id.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        derived_message_id(&["unreadable", shared.name.as_str(), &id, &body], 0)
    });
    let text =
        |(name, value): &(String, Vec<u8>)| Some((name.clone(), std::str::from_utf8(value).ok()?.to_owned()));
    let headers = raw.headers.iter().filter_map(text).collect();
    Envelope {
        id,
        headers,
        body: raw.body.clone(),
        native: raw.native.clone(),
    }
}
