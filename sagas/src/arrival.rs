//! What a message that came in says about the instance that it is for.

use longhaul_core::address::Address;
use longhaul_core::envelope::Intent;
use longhaul_core::handler::{HandlerResult, Received};
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use longhaul_core::stateful::{Effects, Taken, Work};

use crate::compensation::Answer;
use crate::not_found::NotFoundContext;
use crate::saga::Saga;
use crate::status::Outcome;
use crate::stored::StoredOrigin;
use crate::table::{Decoded, Entry};

/// The instance that a message is for.
pub(crate) struct Place<'a> {
    pub(crate) key: String,
    /// The life that it is for, where it says so.
    pub(crate) incarnation: Option<&'a str>,
    pub(crate) may_create: bool,
}

/// A message for an instance that is finished, or did not appear.
pub(crate) fn late<S: Saga>(
    entry: &Entry<S>,
    received: &Received,
    message: Decoded,
    work: Work<'_>,
    place: Place<'_>,
    outcome: Option<Outcome>,
    why: &'static str,
) -> HandlerResult<Effects> {
    let Some(not_found) = &entry.not_found else {
        return Ok(nothing(work, Taken::Ignored(why)));
    };
    let mut ctx = NotFoundContext {
        received,
        outbound: work.outbound,
        id: Some(place.key),
        outcome,
    };
    not_found(message, &mut ctx)?;
    Ok(Effects {
        outbound: ctx.outbound,
        records: Vec::new(),
        pending: Vec::new(),
        taken: Taken::Handled,
    })
}

pub(crate) fn nothing(work: Work<'_>, taken: Taken) -> Effects {
    Effects {
        outbound: work.outbound,
        records: Vec::new(),
        pending: Vec::new(),
        taken,
    }
}

pub(crate) fn answer(received: &Received) -> Answer<'_> {
    let headers = &received.envelope.headers;
    let is_reply = received.intent == Intent::Reply;
    Answer {
        to: headers.get(headers::CORRELATION).filter(|_| is_reply),
        cause: headers.get(headers::CAUSATION),
        type_name: &received.type_name,
    }
}

pub(crate) fn origin(received: &Received) -> StoredOrigin {
    let headers = &received.envelope.headers;
    let part = headers.iter().filter_map(|(name, value)| {
        let part = name.strip_prefix(headers::ORIGINATOR_PREFIX)?;
        Some((part.to_owned(), value))
    });
    let reply_to = headers.get(headers::REPLY_TO);
    StoredOrigin {
        reply_to: reply_to.and_then(|queue| Address::new(queue).ok()),
        part: part.collect(),
    }
}

pub(crate) fn timeout_id(received: &Received, work: &Work<'_>) -> Option<MessageId> {
    let named = || {
        received
            .envelope
            .headers
            .get(headers::TIMEOUT_ID)
            .and_then(|id| MessageId::new(id).ok())
    };
    work.timeout.map(|row| row.id.clone()).or_else(named)
}
