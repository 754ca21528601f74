//! One instance of a saga as people and tools see it: read from its record, without the saga's code.

use std::fmt;

use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::store::Record;

use crate::history::History;
use crate::status::{Outcome, Status, StepState};
use crate::stored::{Purpose, Stored, StoredLife};
use crate::timeout::TimeoutId;

/// One instance of a saga, alive or finished.
///
/// ```
/// use longhaul_core::store::{Record, RecordKey};
/// use longhaul_sagas::{Instance, Status};
///
/// # let body = r#"{"format":1,"status":"completed","incarnation":"m-1","started":"2026-11-21T10:00:00Z",
/// #     "finished":{"at":"2026-11-21T11:00:00Z"}}"#.into();
/// # let key = RecordKey::new("saga/order", "7");
/// # let record = Record { key, version: 2, body, expires: None };
/// let instance = Instance::read(&record)?;
/// assert_eq!(instance.status, Status::Completed);
/// # Ok::<(), longhaul_sagas::UnreadableInstance>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Instance {
    /// Where it stands.
    pub status: Status,
    /// How it ended; `None` while it has not.
    pub outcome: Option<Outcome>,
    /// The id of the message that started it.
    pub incarnation: MessageId,
    /// When that was handled.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Whether it finishes as soon as its steps are answered.
    pub completing: bool,
    /// Why it compensates, or did.
    pub reason: Option<String>,
    /// Why an operator gave it up.
    pub given_up: Option<String>,
    /// Of a finished one: what an operator took out of the compensation, with the reasons.
    pub left: Vec<String>,
    /// The version of its state; `None` once it is finished.
    pub state_version: Option<u32>,
    /// Its state as JSON; `None` once it is finished.
    pub state: Option<String>,
    /// What it waits for.
    pub timeouts: Vec<InstanceTimeout>,
    /// What it may have to undo, in the order of sending.
    pub steps: Vec<InstanceStep>,
    /// What it went through, as far as it is kept.
    pub history: History,
}

/// A timeout that an instance waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceTimeout {
    /// Its id, which is that of its pending row.
    pub id: TimeoutId,
    /// What it is called.
    pub name: String,
    /// When it is due.
    pub due: Timestamp,
    /// Whether the saga asked for it; the others belong to its compensation.
    pub own: bool,
}

/// A step of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceStep {
    /// The id of its command.
    pub request: MessageId,
    /// The wire name of its command.
    pub type_name: String,
    /// The wire name of its undo.
    pub undo: String,
    /// How far it is.
    pub state: StepState,
    /// How often its undo was sent.
    pub attempts: u32,
    /// Why its undo failed, or why it was skipped.
    pub note: Option<String>,
}

impl Instance {
    /// The collection in which the records of a saga of that name are stored.
    ///
    /// ```
    /// assert_eq!(longhaul_sagas::Instance::collection("order"), "saga/order");
    /// ```
    #[must_use]
    pub fn collection(saga: &str) -> String {
        crate::correlation::collection(saga)
    }

    /// Reads the record of an instance.
    ///
    /// # Errors
    /// The record is damaged, or of a newer version.
    pub fn read(record: &Record) -> Result<Self, UnreadableInstance> {
        let stored = Stored::read(record).map_err(|error| UnreadableInstance(error.to_string()))?;
        let outcome = stored.outcome();
        let mut instance = Self {
            status: stored.status,
            outcome,
            incarnation: stored.incarnation,
            started: stored.started,
            finished: None,
            completing: false,
            reason: None,
            given_up: None,
            left: Vec::new(),
            state_version: None,
            state: None,
            timeouts: Vec::new(),
            steps: Vec::new(),
            history: History::of(stored.history),
        };
        if let Some(end) = stored.finished {
            instance.finished = Some(end.at);
            instance.reason = end.reason;
            instance.given_up = end.given_up;
            instance.left = end.left;
        }
        if let Some(life) = stored.live {
            instance.fill(life);
        }
        Ok(instance)
    }

    fn fill(&mut self, life: StoredLife) {
        self.completing = life.completing;
        self.reason = life.compensation.map(|compensation| compensation.reason);
        self.state_version = Some(life.state_version);
        self.state = Some(life.state.get().to_owned());
        let timeouts = life.timeouts.into_iter().map(|timeout| InstanceTimeout {
            id: TimeoutId(timeout.id),
            name: timeout.name,
            due: timeout.due,
            own: timeout.purpose == Purpose::Own,
        });
        self.timeouts = timeouts.collect();
        let steps = life.steps.into_iter().map(|step| InstanceStep {
            request: step.request,
            type_name: step.type_name,
            undo: step.undo.type_name,
            state: step.state,
            attempts: step.attempts,
            note: step.note,
        });
        self.steps = steps.collect();
    }
}

/// A record that can't be read as an instance of a saga. Reads after "failed to".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableInstance(String);

impl fmt::Display for UnreadableInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnreadableInstance {}
