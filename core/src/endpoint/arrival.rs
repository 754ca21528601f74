//! A message that came in: read, matched with who takes it, and in line for its keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::endpoint::failing::guarded;
use crate::endpoint::locks::{LockKey, Ticket};
use crate::endpoint::quarantine;
use crate::endpoint::registry::Takers;
use crate::endpoint::shared::Shared;
use crate::envelope::{self, Envelope, Incoming, Intent};
use crate::handler::{HandlerError, HandlerResult, Received};
use crate::headers;
use crate::ids::{MessageId, derived_message_id, edited_message_id};
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

/// A message as it came, before any step changed it: what is passed on where it fails.
#[derive(Debug, Clone)]
pub(crate) struct Original<'a> {
    pub(crate) envelope: &'a Envelope,
    /// The wire name, for logs.
    pub(crate) type_name: &'a str,
    /// The row that it is the alarm of.
    pub(crate) row: Option<MessageId>,
}

impl Original<'_> {
    pub(crate) fn id(&self) -> &MessageId {
        &self.envelope.id
    }

    pub(crate) fn is_replayed(&self) -> bool {
        self.envelope.headers.get(headers::REPLAY).is_some()
    }

    /// The message that an operator has made this one of, with another body and for that under another id.
    pub(crate) fn edited_from(&self) -> Option<&str> {
        let old = self.envelope.headers.get(headers::CAUSATION)?;
        (*self.id() == edited_message_id(old, &self.envelope.body)).then_some(old)
    }

    /// The token that the row of an alarm must still have.
    pub(crate) fn token(&self) -> Option<u64> {
        self.envelope.number(headers::TIMEOUT_TOKEN)
    }

    /// With the row that the store knows.
    pub(crate) fn with_row(self, row: Option<MessageId>) -> Self {
        Self { row, ..self }
    }
}

/// A message that can be handled, with its place in line.
pub(crate) struct Ready<'a> {
    pub(crate) received: Received,
    /// What it was before the steps, where there are any.
    before_steps: Option<Box<Envelope>>,
    pub(crate) takers: &'a Takers,
    /// Sorted, each once.
    pub(crate) keys: Vec<RecordKey>,
    /// The records of what it is kept in order by.
    pub(crate) order: BTreeMap<RecordKey, String>,
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

    pub(crate) fn original(&self) -> Original<'_> {
        Original {
            envelope: self.before_steps.as_deref().unwrap_or(&self.received.envelope),
            type_name: &self.received.type_name,
            row: self.row(),
        }
    }

    pub(crate) fn is_alarm(&self) -> bool {
        self.received.intent == Intent::Timeout
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
    envelope: Envelope,
    pub(crate) error: HandlerError,
    /// Its place in line; none where its id was not readable, so that it has no inbox either.
    pub(crate) ticket: Option<Ticket>,
}

impl Rejected {
    pub(crate) fn original(&self) -> Original<'_> {
        let is_alarm = self.envelope.intent() == Ok(Intent::Timeout);
        Original {
            envelope: &self.envelope,
            type_name: self.envelope.headers.get(headers::TYPE).unwrap_or_default(),
            row: row(&self.envelope).filter(|_| is_alarm),
        }
    }
}

/// Reads a message and takes its place in line, at the moment of its arrival: so messages for one key keep their order.
pub(crate) fn read<'a>(
    shared: &'a Shared,
    incoming: &Incoming,
    alone: bool,
) -> Result<Ready<'a>, Box<Rejected>> {
    let reject = |envelope: Envelope, error, has_id: bool| {
        let ticket = has_id.then(|| shared.locks.reserve(locks(&[], &envelope)));
        Box::new(Rejected {
            envelope,
            error: shared.settings.rules.classified(error),
            ticket,
        })
    };
    let mut envelope = envelope::read(incoming, &shared.settings.limits).map_err(|fault| {
        let error = HandlerError::unreadable(fault.reason(), &fault);
        let id = incoming
            .id
            .as_deref()
            .and_then(|id| std::str::from_utf8(id).ok())
            .and_then(|id| MessageId::new(id).ok());
        let has_id = id.is_some();
        reject(salvage(shared, incoming, id), error, has_id)
    })?;
    // Only steps change what came: without any there is no need for a second copy.
    let before_steps = (!shared.steps.is_empty()).then(|| Box::new(envelope.clone()));
    let (name, intent, takers) = match guarded("what reads it", || matched(shared, &mut envelope)) {
        Ok(matched) => matched,
        Err(error) => return Err(reject(before_steps.map_or(envelope, |came| *came), error, true)),
    };
    let received = received(shared, envelope, name, intent);
    let (keys, places) = match guarded("what finds its keys", || keys(&takers.stateful, &received)) {
        Ok(keys) => keys,
        Err(error) => {
            let came = before_steps.map_or(received.envelope, |came| *came);
            return Err(reject(came, error, true));
        }
    };
    let order = order(shared, takers, &received, &keys, &places);
    let locked: Vec<RecordKey> = keys.iter().chain(order.keys()).cloned().collect();
    let ticket = shared.locks.reserve(locks(&locked, &received.envelope));
    Ok(Ready {
        received,
        before_steps,
        takers,
        keys,
        order,
        places,
        ticket,
        alone,
    })
}

fn locks(keys: &[RecordKey], envelope: &Envelope) -> Vec<LockKey> {
    let records = keys.iter().cloned().map(LockKey::Record);
    let message = LockKey::Message(envelope.id.clone());
    records
        .chain([message])
        .chain(row(envelope).map(LockKey::Message))
        .collect()
}

fn matched<'a>(shared: &'a Shared, envelope: &mut Envelope) -> HandlerResult<(String, Intent, &'a Takers)> {
    let fault = |fault: envelope::Unreadable| HandlerError::unreadable(fault.reason(), fault);
    envelope.check_body().map_err(fault)?;
    pass_steps(shared, envelope)?;
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

/// Steps may change everything but the id, which the inbox goes by.
fn pass_steps(shared: &Shared, envelope: &mut Envelope) -> HandlerResult {
    for step in &shared.steps {
        let id = envelope.id.clone();
        step.incoming(envelope)?;
        if envelope.id != id {
            let name = step.name();
            return Err(HandlerError::permanent(format!(
                "handle the message: the step {name:?} changed its id; leave it as it is"
            )));
        }
    }
    Ok(())
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

/// What it is kept in order by, behind a message that failed.
fn order(
    shared: &Shared,
    takers: &Takers,
    received: &Received,
    keys: &[RecordKey],
    places: &[Vec<usize>],
) -> BTreeMap<RecordKey, String> {
    let has_key = received.envelope.headers.get(headers::ORDERING_KEY).is_some();
    let keeps = |participant: &Arc<dyn StatefulHandler>| participant.keeps_order();
    if shared.store.is_none() || !(has_key || takers.stateful.iter().any(keeps)) {
        return BTreeMap::new();
    }
    let kept = takers.stateful.iter().zip(places).filter(|(one, _)| keeps(one));
    let places = kept.flat_map(|(_, places)| places);
    quarantine::keys(&received.envelope, places.filter_map(|place| keys.get(*place)))
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
