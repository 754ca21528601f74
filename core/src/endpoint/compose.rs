//! Turns what participants recorded into envelopes with all headers, and those into pending rows.

use crate::address::Address;
use crate::clock::Timestamp;
use crate::endpoint::dispatcher::Entry;
use crate::endpoint::settings::FARTHEST;
use crate::endpoint::shared::Shared;
use crate::envelope::{Envelope, Intent};
use crate::handler::{HandlerError, HandlerResult, Received};
use crate::headers::{self, Headers};
use crate::outbound::{Outbound, Outgoing, TimeoutRequest};
use crate::reason::Reason;
use crate::store::{PendingKind, PendingRow};
use crate::transport::{Destination, Dispatch};

/// What was being handled when messages were recorded; a session has none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause<'a> {
    pub(crate) incoming: Option<&'a Received>,
    pub(crate) now: Timestamp,
    /// The time written on what is sent; the incoming message's own where nothing is stored, so that retries send the same bytes.
    pub(crate) time_sent: Option<Timestamp>,
}

/// The rows for everything that `outbound` recorded.
pub(crate) fn rows(shared: &Shared, cause: Cause<'_>, outbound: Outbound) -> HandlerResult<Vec<PendingRow>> {
    let (messages, timeouts) = outbound.finish()?;
    let mut rows = Vec::with_capacity(messages.len() + timeouts.len());
    for message in messages {
        let dispatch = dispatch(shared, cause, message)?;
        rows.push(PendingRow {
            id: dispatch.envelope.id.clone(),
            kind: PendingKind::Message,
            owner: None,
            name: String::new(),
            envelope: dispatch.envelope,
            to: dispatch.to,
            due: dispatch.due,
            attention: cause.now + shared.waits.young,
            token: 0,
            alarm_sent: false,
            parked: None,
        });
    }
    for timeout in timeouts {
        rows.push(timeout_row(shared, cause, timeout)?);
    }
    Ok(rows)
}

/// The dispatches for everything that `outbound` recorded, where there is no store to keep rows in.
pub(crate) fn dispatches(
    shared: &Shared,
    cause: Cause<'_>,
    outbound: Outbound,
) -> HandlerResult<Vec<Dispatch>> {
    let (messages, timeouts) = outbound.finish()?;
    if !timeouts.is_empty() {
        return Err(unsendable(
            "request a timeout: this endpoint has no store; give it one with `.persistence(…)`",
        ));
    }
    let longest = shared.longest_delay_storeless();
    messages
        .into_iter()
        .map(|message| {
            let dispatch = dispatch(shared, cause, message)?;
            if dispatch.due.is_some_and(|due| due.since(cause.now) > longest) {
                return Err(unsendable(format!(
                    "delay a message by more than {longest:?}: without a store that is the broker's limit; \
                     give the endpoint one with `.persistence(…)`"
                )));
            }
            Ok(dispatch)
        })
        .collect()
}

fn dispatch(shared: &Shared, cause: Cause<'_>, message: Outgoing) -> HandlerResult<Dispatch> {
    let due = message
        .delay
        .map(|delay| delay.due(cause.now))
        .filter(|due| *due > cause.now);
    check_due(cause.now, due)?;
    let to = destination(shared, cause, &message)?;
    let mut headers = message.headers;
    for (name, value) in message.parts.iter() {
        headers.set(name.to_owned(), value);
    }
    if due.is_some() && matches!(to, Destination::Subscribers(_)) {
        return Err(unsendable(
            "delay an event: only messages to one queue can be delayed; send oneself a command instead",
        ));
    }
    common(shared, cause, &mut headers, message.intent, &message.type_name);
    if message.intent == Intent::Reply {
        let request = message
            .correlation
            .as_ref()
            .or(cause.incoming.map(|received| &received.envelope.id));
        if let Some(request) = request {
            headers.set(headers::CORRELATION, request.as_str());
        }
        if message.correlation.is_none()
            && let Some(received) = cause.incoming
        {
            answer_part(received, &mut headers);
        }
    }
    if let Some(due) = due {
        headers.set(headers::DUE, due.to_string());
    }
    if headers.get(headers::CONVERSATION).is_none() {
        headers.set(headers::CONVERSATION, message.id.as_str());
    }
    let envelope = finish(shared, Envelope::new(message.id, headers, message.body))?;
    let dispatch = Dispatch { envelope, to, due };
    shared.transport.check(&dispatch).map_err(unsendable)?;
    Ok(dispatch)
}

fn timeout_row(shared: &Shared, cause: Cause<'_>, request: TimeoutRequest) -> HandlerResult<PendingRow> {
    check_due(cause.now, Some(request.due))?;
    let mut headers = request.headers;
    common(shared, cause, &mut headers, Intent::Timeout, &request.type_name);
    let envelope = finish(shared, Envelope::new(request.id.clone(), headers, request.body))?;
    Ok(PendingRow {
        id: request.id,
        kind: PendingKind::Timeout,
        owner: Some(request.owner),
        name: request.name,
        envelope,
        to: Destination::Queue(shared.name.clone()),
        due: Some(request.due),
        attention: cause.now + shared.waits.young,
        token: 0,
        alarm_sent: false,
        parked: None,
    })
}

fn check_due(now: Timestamp, due: Option<Timestamp>) -> HandlerResult {
    if due.is_some_and(|due| due.since(now) > FARTHEST) {
        return Err(unsendable(
            "delay a message by more than 100 years: is the due time right?",
        ));
    }
    Ok(())
}

fn destination(shared: &Shared, cause: Cause<'_>, message: &Outgoing) -> HandlerResult<Destination> {
    if let Some(queue) = &message.to {
        return Ok(Destination::Queue(queue.clone()));
    }
    let name = message.type_name.as_ref();
    match message.intent {
        Intent::Publish => Ok(Destination::Subscribers(name.to_owned())),
        Intent::Timeout => Ok(Destination::Queue(shared.name.clone())),
        Intent::Send => match shared.routes.get(name) {
            Some(queue) => Ok(Destination::Queue(queue.clone())),
            None if shared.registry.handles_command(name) => Ok(Destination::Queue(shared.name.clone())),
            None => Err(unsendable(format!(
                "send the command {name}: there is no route for it; add `.route::<…>(\"its endpoint\")` to this endpoint"
            ))),
        },
        Intent::Reply => {
            let reply_to = cause
                .incoming
                .and_then(|received| received.envelope.headers.get(headers::REPLY_TO));
            let queue = reply_to.and_then(|queue| Address::new(queue).ok());
            queue.map(Destination::Queue).ok_or_else(|| {
                unsendable(format!(
                    "reply with {name}: the message being handled does not say where replies go"
                ))
            })
        }
    }
}

/// Headers that every message of ours has.
fn common(shared: &Shared, cause: Cause<'_>, headers: &mut Headers, intent: Intent, type_name: &str) {
    headers.set(headers::INTENT, intent.as_str());
    headers.set(headers::TYPE, type_name);
    headers.set(headers::CONTENT_TYPE, shared.codec.content_type());
    headers.set(headers::ORIGINATING_ENDPOINT, shared.name.as_str());
    if !shared.registry.is_empty() {
        headers.set(headers::REPLY_TO, shared.name.as_str());
    }
    if let Some(time) = cause.time_sent {
        headers.set(headers::TIME_SENT, time.to_string());
    }
    let Some(received) = cause.incoming else { return };
    let incoming = &received.envelope;
    headers.set(headers::CAUSATION, incoming.id.as_str());
    let conversation = incoming
        .headers
        .get(headers::CONVERSATION)
        .unwrap_or(incoming.id.as_str());
    headers.set(headers::CONVERSATION, conversation);
    for name in [headers::TRACEPARENT, headers::TRACESTATE] {
        if let Some(value) = incoming.headers.get(name)
            && headers.get(name).is_none()
        {
            headers.set(name, value);
        }
    }
}

/// A reply names the part of the sender that asked.
fn answer_part(received: &Received, headers: &mut Headers) {
    for (name, value) in received.envelope.headers.iter() {
        if let Some(part) = name.strip_prefix(headers::ORIGINATOR_PREFIX) {
            headers.set(format!("{}{part}", headers::TARGET_PREFIX), value);
        }
    }
}

/// The steps and the limits.
fn finish(shared: &Shared, mut envelope: Envelope) -> HandlerResult<Envelope> {
    for step in shared.steps.iter().rev() {
        step.outgoing(&mut envelope)?;
    }
    let limits = &shared.settings.limits;
    let most = limits.body_bytes.min(shared.transport.capabilities().max_body);
    if envelope.body.len() > most {
        let size = envelope.body.len();
        return Err(unsendable(format!(
            "send a body of {size} bytes: the limit is {most}; send a reference to it instead"
        )));
    }
    if envelope.headers.len() > limits.headers {
        return Err(unsendable(format!(
            "send a message with more than {} headers",
            limits.headers
        )));
    }
    if let Some((name, _)) = envelope
        .headers
        .iter()
        .find(|(_, value)| value.len() > limits.header_bytes)
    {
        let most = limits.header_bytes;
        return Err(unsendable(format!(
            "send the header {name:?}: its value is over {most} bytes"
        )));
    }
    Ok(envelope)
}

/// Prepares new rows for a commit: says which of them to send from memory, and when the relay must look at the others.
pub(crate) fn entries(shared: &Shared, now: Timestamp, rows: &mut [PendingRow]) -> Vec<Entry> {
    let longest = shared.longest_delay();
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        match row.due {
            // Too far for the broker: the relay looks again when the rest fits.
            Some(due) if due.since(now) > longest => row.attention = due - longest,
            _ => entries.push(Entry::of_row(row)),
        }
    }
    entries
}

fn unsendable(text: impl std::fmt::Display) -> HandlerError {
    HandlerError::permanent(text).with_reason(Reason::Unsendable)
}
