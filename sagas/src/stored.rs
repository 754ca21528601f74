//! How an instance is stored: plain data with a version, of its own.

use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::handler::{HandlerError, HandlerResult};
use longhaul_core::headers::Headers;
use longhaul_core::ids::MessageId;
use longhaul_core::reason::Reason;
use longhaul_core::store::Record;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::history::StoredHistory;
use crate::status::{Outcome, Status, StepState};

/// The version of this format; readers refuse a newer one.
const FORMAT: u32 = 1;

/// Everything that is kept of one instance, alive or finished.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    format: u32,
    /// Where it stands. A finished one keeps its last status.
    pub(crate) status: Status,
    /// The id of the message that started it.
    pub(crate) incarnation: MessageId,
    /// When that was handled.
    pub(crate) started: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<StoredEnd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<StoredLife>,
    #[serde(default, skip_serializing_if = "StoredHistory::is_empty")]
    pub(crate) history: StoredHistory,
}

/// What a tombstone says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredEnd {
    pub(crate) at: Timestamp,
    /// Why it was compensated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Why an operator gave it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) given_up: Option<String>,
    /// What was not undone by its own undo: skipped, or given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left: Vec<String>,
}

/// What only an instance that is not finished has.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredLife {
    pub(crate) state_version: u32,
    pub(crate) state: Box<RawValue>,
    pub(crate) origin: StoredOrigin,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) completing: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compensation: Option<StoredCompensation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<StoredStep>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) timeouts: Vec<StoredTimeout>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// To whom an answer to the starting message goes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct StoredOrigin {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reply_to: Option<Address>,
    /// The part of the sender that asked: what a reply carries back.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub(crate) part: Headers,
}

/// That what was done is to be undone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredCompensation {
    pub(crate) reason: String,
    pub(crate) started: Timestamp,
}

/// A step that can be undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredStep {
    pub(crate) request: MessageId,
    pub(crate) type_name: String,
    /// When the request is with its receiver at the earliest.
    pub(crate) sent: Timestamp,
    /// The reply that says it is done; without one it is done when sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) done_by: Option<String>,
    /// How long a compensation waits for the answer, where the saga's own limit does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer_within_ms: Option<u64>,
    pub(crate) undo: StoredUndo,
    pub(crate) state: StepState,
    /// Undos sent so far.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) attempts: u32,
    /// The id of the last undo sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undo_request: Option<MessageId>,
    /// The last undo may still be answered: it may only be sent again under its id.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) unanswered: bool,
    /// Why the undo failed, or why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// A command that undoes a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredUndo {
    pub(crate) type_name: String,
    pub(crate) body: StoredBody,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<Address>,
    /// The reply that says it is undone; without one nobody waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undone_by: Option<String>,
}

/// A body as the codec wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StoredBody {
    /// It was UTF-8.
    Text(String),
    /// It was not.
    Bytes(Vec<u8>),
}

impl StoredBody {
    pub(crate) fn new(body: &Bytes) -> Self {
        match std::str::from_utf8(body) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(body.to_vec()),
        }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Self::Bytes(bytes) => Bytes::copy_from_slice(bytes),
        }
    }
}

/// A timeout that has not fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredTimeout {
    pub(crate) id: MessageId,
    pub(crate) name: String,
    pub(crate) due: Timestamp,
    pub(crate) purpose: Purpose,
}

/// What a timeout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Purpose {
    /// The saga asked for it.
    Own,
    /// A compensation stops waiting for the answer to the step with this number.
    Answer(usize),
    /// The undo of the step was not answered.
    Undo(usize),
    /// The undo of the step is sent again.
    Retry(usize),
    /// An operator wants it to go on.
    Resume,
}

impl Stored {
    pub(crate) fn alive(
        status: Status,
        incarnation: MessageId,
        started: Timestamp,
        live: StoredLife,
        history: StoredHistory,
    ) -> Self {
        Self {
            format: FORMAT,
            status,
            incarnation,
            started,
            finished: None,
            live: Some(live),
            history,
        }
    }

    pub(crate) fn tombstone(
        status: Status,
        incarnation: MessageId,
        started: Timestamp,
        end: StoredEnd,
        history: StoredHistory,
    ) -> Self {
        Self {
            format: FORMAT,
            status,
            incarnation,
            started,
            finished: Some(end),
            live: None,
            history,
        }
    }

    /// Reads a record.
    pub(crate) fn read(record: &Record) -> HandlerResult<Self> {
        #[derive(Deserialize)]
        struct Peek {
            format: u32,
        }
        let key = &record.key;
        let newer = |format: u32| {
            unreadable(format!(
                "read {} {:?}: it is stored in format {format}, and this program knows {FORMAT}; \
                 run the version that wrote it, then replay the message",
                key.collection, key.id
            ))
        };
        match serde_json::from_slice::<Self>(&record.body) {
            Ok(stored) if stored.format > FORMAT => Err(newer(stored.format)),
            Ok(stored) => Ok(stored),
            Err(fault) => Err(match serde_json::from_slice::<Peek>(&record.body) {
                Ok(peek) if peek.format > FORMAT => newer(peek.format),
                _ => unreadable(format!(
                    "read {} {:?}: its record is damaged ({fault}); mend or delete it, then replay the message",
                    key.collection, key.id
                )),
            }),
        }
    }

    /// How it ended, if it did.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let end = self.finished.as_ref()?;
        Some(match (end.given_up.is_some(), self.status) {
            (true, _) => Outcome::GivenUp,
            (false, Status::Completed) => Outcome::Completed,
            (false, _) => Outcome::Compensated,
        })
    }

    pub(crate) fn to_body(&self) -> HandlerResult<Bytes> {
        let written = serde_json::to_vec(self);
        written
            .map(Bytes::from)
            .map_err(|fault| HandlerError::permanent(format!("write the saga's record: {fault}")))
    }
}

/// Stored state that this program can't use: only the messages for this instance fail, and nothing is overwritten.
pub(crate) fn unreadable(text: String) -> HandlerError {
    HandlerError::permanent(text).with_reason(Reason::UnreadableState)
}
