//! What a message that came in says about the instance that it is for.

use longhaul_core::address::Address;
use longhaul_core::envelope::Intent;
use longhaul_core::handler::{HandlerError, HandlerResult, Received};
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use longhaul_core::reason::Reason;
use longhaul_core::stateful::{Effects, Taken, Work};
use longhaul_core::store::Record;

use crate::compensation::Answer;
use crate::correlation::{Named, named};
use crate::not_found::NotFoundContext;
use crate::saga::Saga;
use crate::status::Outcome;
use crate::stored::{Stored, StoredOrigin};
use crate::table::{Decoded, Entry};

/// The instance that a message is for.
pub(crate) struct Place<'a> {
    pub(crate) key: String,
    /// The life that it is for, where it says so.
    pub(crate) incarnation: Option<&'a str>,
    pub(crate) may_create: bool,
}

impl<'a> Place<'a> {
    /// The one that headers name.
    pub(crate) fn named(key: &str, incarnation: &'a str) -> Self {
        Self {
            key: key.to_owned(),
            incarnation: Some(incarnation),
            may_create: false,
        }
    }
}

/// One message, what was loaded for it, and whom it is for.
pub(crate) struct Case<'a> {
    pub(crate) received: &'a Received,
    pub(crate) work: Work<'a>,
    pub(crate) place: Place<'a>,
}

impl<'a> Case<'a> {
    /// What is stored under the key.
    pub(crate) fn record(&self) -> Option<&'a Record> {
        self.work.records.first().and_then(Option::as_ref)
    }

    pub(crate) fn stored(&self) -> HandlerResult<Option<Stored>> {
        self.record().map(Stored::read).transpose()
    }

    pub(crate) fn is_for_another_life(&self, stored: &Stored) -> bool {
        self.place
            .incarnation
            .is_some_and(|meant| meant != stored.incarnation.as_str())
    }

    /// The id of the timeout that fired.
    pub(crate) fn timeout_id(&self) -> Option<MessageId> {
        let header = || self.received.envelope.headers.get(headers::TIMEOUT_ID);
        let row = self.work.timeout.map(|row| row.id.clone());
        row.or_else(|| header().and_then(|id| MessageId::new(id).ok()))
    }

    /// The instance is finished, or did not appear.
    pub(crate) fn late<S: Saga>(
        self,
        entry: &Entry<S>,
        message: Decoded,
        outcome: Option<Outcome>,
        why: &'static str,
    ) -> HandlerResult<Effects> {
        let Some(not_found) = &entry.not_found else {
            return Ok(nothing(self.work, Taken::Ignored(why)));
        };
        let id = Some(self.place.key);
        let mut ctx = NotFoundContext {
            received: self.received,
            outbound: self.work.outbound,
            id,
            outcome,
        };
        not_found(message, &mut ctx)?;
        Ok(Effects {
            outbound: ctx.outbound,
            records: Vec::new(),
            pending: Vec::new(),
            taken: Taken::Handled,
            became: Vec::new(),
        })
    }
}

/// The instance that an alarm is for.
pub(crate) fn alarm_place<'a>(received: &'a Received, saga: &str) -> HandlerResult<Place<'a>> {
    match named(received, saga)? {
        Named::Ours { key, incarnation } => Ok(Place::named(key, incarnation)),
        Named::Nothing | Named::Other => {
            let text = format!("find the instance of {saga} that a timeout is for: its headers name none");
            Err(HandlerError::unreadable(Reason::NoCorrelation, text))
        }
    }
}

/// The message changes nothing.
pub(crate) fn nothing(work: Work<'_>, taken: Taken) -> Effects {
    Effects {
        outbound: work.outbound,
        records: Vec::new(),
        pending: Vec::new(),
        taken,
        became: Vec::new(),
    }
}

/// What a message may mean for steps.
pub(crate) fn answer(received: &Received) -> Answer<'_> {
    let headers = &received.envelope.headers;
    let is_reply = received.intent == Intent::Reply;
    Answer {
        to: headers.get(headers::CORRELATION).filter(|_| is_reply),
        cause: headers.get(headers::CAUSATION),
        type_name: &received.type_name,
    }
}

/// To whom an answer to a starting message goes.
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
