//! What an operator can do about an instance: cancel or move a timeout, and where it is stuck retry, skip with a reason, give up.
//!
//! Pure functions from a record to what is to be committed; none needs the saga's code. What becomes of a stuck instance takes
//! effect with a timeout that is due at once, which the endpoint of the saga then handles. A running endpoint is told by
//! message instead: see [`control`](crate::control).
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
use longhaul_core::store::{PendingChange, Record, RecordChange, UnitOfWork};

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
    let mut stuck = Open::stuck(record)?;
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
    let mut stuck = Open::stuck(record)?;
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

/// Takes away a timeout that the saga asked for: it never fires, and the instance no longer waits for it.
///
/// # Errors
/// The instance waits for no timeout of that id; the timeout is the framework's own, without which a compensation would never
/// go on; or the record can't be read.
pub fn cancel_timeout(
    record: &Record,
    timeout: &MessageId,
    now: Timestamp,
) -> Result<UnitOfWork, OperateError> {
    let mut open = Open::read(record)?;
    let found = open.timeout(record, timeout)?;
    if open.ledger.timeouts[found].purpose != Purpose::Own {
        let text = format!(
            "cancel the timeout {timeout}: the compensation of {:?} waits for it, and would never go on; move it instead",
            record.key.id
        );
        return Err(OperateError::new(OperateErrorKind::Needed, text));
    }
    let what = format!("cancel timeout {}", open.ledger.timeouts.remove(found).name);
    open.with(record, what, PendingChange::Cancel(timeout.clone()), now)
}

/// Gives a timeout of an instance another due time.
///
/// # Errors
/// The instance waits for no timeout of that id, or the record can't be read.
pub fn move_timeout(
    record: &Record,
    timeout: &MessageId,
    due: Timestamp,
    now: Timestamp,
) -> Result<UnitOfWork, OperateError> {
    let mut open = Open::read(record)?;
    let found = open.timeout(record, timeout)?;
    let moved = &mut open.ledger.timeouts[found];
    moved.due = due;
    let what = format!("move timeout {} to {due}", moved.name);
    let change = PendingChange::Move {
        id: timeout.clone(),
        due,
        attention: now,
    };
    open.with(record, what, change, now)
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
    let mut stuck = Open::stuck(record)?;
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

/// An instance that is not finished.
struct Open {
    identity: Identity,
    started: Timestamp,
    ledger: Ledger,
    life: StoredLife,
    history: StoredHistory,
}

impl Open {
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
        let Some(mut life) = stored.live else {
            let text = format!("change {saga} {id:?}: it is {} and finished", stored.status);
            return Err(OperateError::new(OperateErrorKind::Finished, text));
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

    /// One whose compensation can't go on by itself.
    fn stuck(record: &Record) -> Result<Self, OperateError> {
        let not_stuck = |text: String| Err(OperateError::new(OperateErrorKind::NotStuck, text));
        match Self::read(record) {
            Ok(open) if open.ledger.status == Status::Stuck => Ok(open),
            Ok(open) => not_stuck(format!(
                "change the compensation of {} {:?}: it is {}, not stuck",
                open.identity.saga, record.key.id, open.ledger.status
            )),
            Err(error) if error.kind == OperateErrorKind::Finished => {
                not_stuck(format!("{}, not stuck", error.text))
            }
            Err(error) => Err(error),
        }
    }

    /// Where the timeout is in the ledger.
    fn timeout(&self, record: &Record, id: &MessageId) -> Result<usize, OperateError> {
        let mut timeouts = self.ledger.timeouts.iter();
        timeouts.position(|timeout| timeout.id == *id).ok_or_else(|| {
            let text = format!(
                "find the timeout {id}: {} {:?} does not wait for it",
                self.identity.saga, record.key.id
            );
            OperateError::new(OperateErrorKind::NoSuchTimeout, text)
        })
    }

    /// Compensates on, once the endpoint of the saga has handled a timeout that is due now.
    fn resume(
        mut self,
        record: &Record,
        what: String,
        outbound: Outbound,
        now: Timestamp,
    ) -> Result<Effects, OperateError> {
        let mut turn = Turn::new(now, outbound, &self.identity);
        self.ledger.request_timeout(
            &mut turn,
            Purpose::Resume,
            "resume".to_owned(),
            Bytes::from_static(b"null"),
            now,
        );
        self.ledger.status = Status::Compensating;
        let stored = self.into_stored(what, now);
        effects(record, turn, &stored, None)
    }

    /// Stays as it is, but for one timeout.
    fn with(
        self,
        record: &Record,
        what: String,
        change: PendingChange,
        now: Timestamp,
    ) -> Result<UnitOfWork, OperateError> {
        let stored = self.into_stored(what, now);
        Ok(UnitOfWork {
            records: vec![put(record, &stored, None)?],
            pending: vec![change],
            ..UnitOfWork::default()
        })
    }

    fn into_stored(mut self, what: String, now: Timestamp) -> Stored {
        let status = self.ledger.status;
        let life = StoredLife {
            steps: self.ledger.steps,
            timeouts: self.ledger.timeouts,
            compensation: self.ledger.compensation,
            ..self.life
        };
        // The saga's own bound comes with its next message.
        let event = StoredEvent::operated(what, now, status);
        self.history.add(event, MOST_EVENTS);
        Stored::alive(
            status,
            self.identity.incarnation,
            self.started,
            life,
            self.history,
        )
    }
}

fn put(record: &Record, stored: &Stored, expires: Option<Timestamp>) -> Result<RecordChange, OperateError> {
    let body = stored
        .to_body()
        .map_err(|error| OperateError::new(OperateErrorKind::Unreadable, error.to_string()))?;
    Ok(RecordChange::Put {
        key: record.key.clone(),
        expected: Some(record.version),
        body,
        expires,
    })
}

fn effects(
    record: &Record,
    turn: Turn,
    stored: &Stored,
    expires: Option<Timestamp>,
) -> Result<Effects, OperateError> {
    let put = put(record, stored, expires)?;
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
    /// The instance is finished.
    Finished,
    /// The instance waits for no timeout of that id.
    NoSuchTimeout,
    /// The framework itself waits for the timeout.
    Needed,
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
