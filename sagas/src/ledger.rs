//! What an instance still has open: steps that can be undone, and timeouts.

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::reason::Reason;

use crate::status::{Status, StepState};
use crate::stored::{Purpose, StoredCompensation, StoredLife, StoredStep, StoredTimeout};
use crate::turn::Turn;

/// The most steps that one instance can have to undo.
pub(crate) const MAX_STEPS: usize = 1_000;
/// The most timeouts that one instance can have outstanding.
pub(crate) const MAX_TIMEOUTS: usize = 1_000;

/// Everything that the framework keeps of an instance that is not finished, beside the saga's own state.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) status: Status,
    pub(crate) completing: bool,
    pub(crate) compensation: Option<StoredCompensation>,
    pub(crate) steps: Vec<StoredStep>,
    pub(crate) timeouts: Vec<StoredTimeout>,
}

impl Ledger {
    pub(crate) const fn new() -> Self {
        Self {
            status: Status::Active,
            completing: false,
            compensation: None,
            steps: Vec::new(),
            timeouts: Vec::new(),
        }
    }

    pub(crate) fn of(status: Status, life: &mut StoredLife) -> Self {
        Self {
            status,
            completing: life.completing,
            compensation: life.compensation.take(),
            steps: std::mem::take(&mut life.steps),
            timeouts: std::mem::take(&mut life.timeouts),
        }
    }

    pub(crate) fn is_compensating(&self) -> bool {
        self.compensation.is_some()
    }

    /// Asks for a timeout and remembers it.
    pub(crate) fn request_timeout(
        &mut self,
        turn: &mut Turn,
        purpose: Purpose,
        name: String,
        body: Bytes,
        due: Timestamp,
    ) -> MessageId {
        // The timeouts of a compensation are few, and must not fail for those of the saga.
        if purpose == Purpose::Own && self.timeouts.len() >= MAX_TIMEOUTS {
            let text = format!(
                "request a timeout: the saga has {MAX_TIMEOUTS} outstanding; cancel those that no longer matter"
            );
            turn.fail(Reason::HandlerFailed, text);
        }
        let id = turn.request_timeout(name.clone(), body, due);
        self.timeouts.push(StoredTimeout {
            id: id.clone(),
            name,
            due,
            purpose,
        });
        id
    }

    /// Cancels one. Returns whether it was outstanding.
    pub(crate) fn cancel_timeout(&mut self, turn: &mut Turn, id: &MessageId) -> bool {
        let Some(at) = self.timeouts.iter().position(|timeout| timeout.id == *id) else {
            return false;
        };
        self.timeouts.remove(at);
        turn.cancel_timeout(id);
        true
    }

    /// Moves one. Returns whether it was outstanding.
    pub(crate) fn move_timeout(&mut self, turn: &mut Turn, id: &MessageId, due: Timestamp) -> bool {
        let Some(timeout) = self.timeouts.iter_mut().find(|timeout| timeout.id == *id) else {
            return false;
        };
        timeout.due = due;
        turn.move_timeout(id, due);
        true
    }

    /// Cancels those for which `which` says so.
    pub(crate) fn cancel_timeouts(&mut self, turn: &mut Turn, which: impl Fn(Purpose) -> bool) {
        self.timeouts.retain(|timeout| {
            let goes = which(timeout.purpose);
            if goes {
                turn.cancel_timeout(&timeout.id);
            }
            !goes
        });
    }

    /// Takes out the one that fired.
    pub(crate) fn fired(&mut self, id: &MessageId) -> Option<Purpose> {
        let at = self.timeouts.iter().position(|timeout| timeout.id == *id)?;
        Some(self.timeouts.remove(at).purpose)
    }

    /// Whether every step is answered.
    pub(crate) fn all_answered(&self) -> bool {
        !self
            .steps
            .iter()
            .any(|step| matches!(step.state, StepState::Pending | StepState::Overdue))
    }

    /// The steps that were not undone by their undo, each with the reason.
    pub(crate) fn left(&self) -> Vec<String> {
        let left = |step: &&StoredStep| !matches!(step.state, StepState::Undone | StepState::Refused);
        let steps = self.steps.iter().filter(left);
        steps
            .map(|step| {
                format!(
                    "{}: {}",
                    step.type_name,
                    step.note.as_deref().unwrap_or("not undone")
                )
            })
            .collect()
    }
}
