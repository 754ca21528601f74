//! What an operator can do about an instance that is stuck: retry, skip with a reason, give up.
//!
//! Pure functions from a record to what is to be committed; none needs the saga's code. What they change takes effect
//! with a timeout that is due at once, which the endpoint of the saga then handles. A running endpoint is told by message
//! instead: see [`control`](crate::control).
//!
//! ```
//! use longhaul_core::clock::Timestamp;
//! use longhaul_core::outbound::Outbound;
//! use longhaul_core::stateful::Effects;
//! use longhaul_core::store::Record;
//! use longhaul_sagas::Instance;
//! use longhaul_sagas::operate::{self, OperateError};
//!
//! fn skip_first(record: &Record, instance: &Instance, outbound: Outbound, now: Timestamp) -> Result<Effects, OperateError> {
//!     match instance.steps.iter().find(|step| step.note.is_some()) {
//!         Some(failed) => operate::skip(record, &failed.request, "refunded by hand", outbound, now),
//!         None => operate::retry(record, outbound, now),
//!     }
//! }
//! ```

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::outbound::Outbound;
use longhaul_core::stateful::{Effects, Taken};
use longhaul_core::store::{Record, RecordChange};

use crate::correlation::{Identity, saga_of};
use crate::history::{MOST_EVENTS, StoredEvent, StoredHistory};
use crate::ledger::Ledger;
use crate::status::{Status, StepState};
use crate::stored::{Purpose, Stored, StoredEnd, StoredLife, StoredStep};
use crate::turn::Turn;

/// Tries the undos that failed once more, as often as the saga's policy says, and waits once more for answers that did
/// not come.
///
/// An undo that nobody answered is sent again under its id, so that it can't be carried out twice.
///
/// # Errors
/// The instance is not stuck, or its record can't be read.
pub fn retry(record: &Record, outbound: Outbound, now: Timestamp) -> Result<Effects, OperateError> {
    let mut stuck = Stuck::read(record)?;
    for step in &mut stuck.ledger.steps {
        match step.state {
            StepState::Failed => {
                step.state = StepState::Done;
                step.attempts = 0;
            }
            StepState::Overdue => {
                step.state = StepState::Pending;
                step.sent = now;
            }
            _ => {}
        }
    }
    stuck.resume(record, String::from("retry"), outbound, now)
}

/// Takes one step out of the compensation, because its effect was undone by hand, or does not matter: a step whose undo
/// failed, or that nobody answered. The reason stays in the outcome.
///
/// # Errors
/// The instance is not stuck, has no such step, or its record can't be read.
pub fn skip(
    record: &Record,
    step: &MessageId,
    reason: &str,
    outbound: Outbound,
    now: Timestamp,
) -> Result<Effects, OperateError> {
    let mut stuck = Stuck::read(record)?;
    let open = |found: &&mut StoredStep| {
        found.request == *step && matches!(found.state, StepState::Failed | StepState::Overdue)
    };
    let Some(found) = stuck.ledger.steps.iter_mut().find(open) else {
        return Err(OperateError::new(
            OperateErrorKind::NoSuchStep,
            format!(
                "skip the step {step} of {:?}: no step with that id has failed",
                record.key.id
            ),
        ));
    };
    found.state = StepState::Skipped;
    found.note = Some(reason.to_owned());
    let what = format!("skip {}: {reason}", found.type_name);
    stuck.resume(record, what, outbound, now)
}

/// Ends the instance as it is: nothing more is undone. What was not stays in the outcome, with the reason.
///
/// # Errors
/// The instance is not stuck, or its record can't be read.
pub fn give_up(
    record: &Record,
    reason: &str,
    outbound: Outbound,
    now: Timestamp,
    retention: Duration,
) -> Result<Effects, OperateError> {
    let end = End {
        reason,
        message: None,
        events: MOST_EVENTS,
        until: now + retention,
    };
    self::end(record, &end, outbound, now)
}

/// How an instance is ended that is stuck.
pub(crate) struct End<'a> {
    /// Why.
    pub(crate) reason: &'a str,
    /// The message that wants it.
    pub(crate) message: Option<&'a MessageId>,
    /// The most events of its history that are kept.
    pub(crate) events: usize,
    /// How long the outcome is remembered.
    pub(crate) until: Timestamp,
}

/// Ends it.
pub(crate) fn end(
    record: &Record,
    end: &End<'_>,
    outbound: Outbound,
    now: Timestamp,
) -> Result<Effects, OperateError> {
    let mut stuck = Stuck::read(record)?;
    let mut turn = Turn::new(now, outbound, &stuck.identity);
    stuck.ledger.cancel_timeouts(&mut turn, |_| true);
    let compensation = stuck.ledger.compensation.take();
    let stored_end = StoredEnd {
        at: now,
        reason: compensation.map(|compensation| compensation.reason),
        given_up: Some(end.reason.to_owned()),
        left: stuck.ledger.left(),
    };
    let mut history = stuck.history;
    let event = StoredEvent::operated(format!("give up: {}", end.reason), now, Status::Stuck);
    let message = end.message.cloned();
    history.add(StoredEvent { message, ..event }, end.events);
    let stored = Stored::tombstone(
        Status::Stuck,
        stuck.identity.incarnation,
        stuck.started,
        stored_end,
        history,
    );
    effects(record, turn, &stored, Some(end.until))
}

/// An instance that is stuck.
struct Stuck {
    identity: Identity,
    started: Timestamp,
    ledger: Ledger,
    life: StoredLife,
    history: StoredHistory,
}

impl Stuck {
    fn read(record: &Record) -> Result<Self, OperateError> {
        let unreadable = |text: String| OperateError::new(OperateErrorKind::Unreadable, text);
        let stored = Stored::read(record).map_err(|error| unreadable(error.to_string()))?;
        let id = &record.key.id;
        let Some(saga) = saga_of(&record.key) else {
            let text = format!(
                "read {id:?} of {:?}: that is not a collection of sagas",
                record.key.collection
            );
            return Err(unreadable(text));
        };
        let (Status::Stuck, Some(mut life)) = (stored.status, stored.live) else {
            let finished = if stored.finished.is_some() {
                " and finished"
            } else {
                ""
            };
            return Err(OperateError::new(
                OperateErrorKind::NotStuck,
                format!(
                    "change the compensation of {saga} {id:?}: it is {}{finished}, not stuck",
                    stored.status
                ),
            ));
        };
        Ok(Self {
            identity: Identity {
                saga: saga.to_owned().into(),
                key: id.to_string(),
                incarnation: stored.incarnation,
            },
            started: stored.started,
            ledger: Ledger::of(stored.status, &mut life),
            life,
            history: stored.history,
        })
    }

    /// Goes on, once the endpoint of the saga has handled a timeout that is due now.
    fn resume(
        self,
        record: &Record,
        what: String,
        outbound: Outbound,
        now: Timestamp,
    ) -> Result<Effects, OperateError> {
        let Self {
            identity,
            started,
            mut ledger,
            life,
            mut history,
        } = self;
        let mut turn = Turn::new(now, outbound, &identity);
        ledger.request_timeout(
            &mut turn,
            Purpose::Resume,
            "resume".to_owned(),
            Bytes::from_static(b"null"),
            now,
        );
        let life = StoredLife {
            steps: ledger.steps,
            timeouts: ledger.timeouts,
            compensation: ledger.compensation,
            ..life
        };
        // The saga's own bound comes with its next message.
        history.add(
            StoredEvent::operated(what, now, Status::Compensating),
            MOST_EVENTS,
        );
        let stored = Stored::alive(Status::Compensating, identity.incarnation, started, life, history);
        effects(record, turn, &stored, None)
    }
}

fn effects(
    record: &Record,
    turn: Turn,
    stored: &Stored,
    expires: Option<Timestamp>,
) -> Result<Effects, OperateError> {
    let body = stored
        .to_body()
        .map_err(|error| OperateError::new(OperateErrorKind::Unreadable, error.to_string()))?;
    let put = RecordChange::Put {
        key: record.key.clone(),
        expected: Some(record.version),
        body,
        expires,
    };
    let (outbound, pending) = turn.finish();
    Ok(Effects {
        outbound,
        records: vec![put],
        pending,
        taken: Taken::Handled,
        // Nobody counts what is done from outside.
        became: Vec::new(),
    })
}

/// Why an operator's wish can't be carried out. Reads after "failed to".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperateError {
    kind: OperateErrorKind,
    text: String,
}

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperateErrorKind {
    /// The instance is not stuck.
    NotStuck,
    /// There is no step with that id that has failed.
    NoSuchStep,
    /// The record can't be read.
    Unreadable,
}

impl OperateError {
    const fn new(kind: OperateErrorKind, text: String) -> Self {
        Self { kind, text }
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> OperateErrorKind {
        self.kind
    }
}

impl fmt::Display for OperateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for OperateError {}
