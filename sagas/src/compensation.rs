//! Undoes what was done: in reverse order, one at a time, each exactly once in effect.
//!
//! A pure state machine over the ledger: answers and timeouts go in, undos and timeouts come out.

use std::time::Duration;

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;

use crate::ledger::Ledger;
use crate::policy::CompensationPolicy;
use crate::status::{Status, StepState};
use crate::stored::{Purpose, StoredStep};
use crate::turn::Turn;

/// What a message says about steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    /// The request that it answers, where it is a reply.
    pub(crate) to: Option<&'a str>,
    /// The message whose handling sent it.
    pub(crate) cause: Option<&'a str>,
    /// Its type.
    pub(crate) type_name: &'a str,
}

impl StoredStep {
    /// Whether an undo is with its receiver that has not worked as far as is known; also one that was thought to have
    /// failed, and one that an operator is about to send again.
    fn awaits_undo(&self) -> bool {
        let may_work = matches!(
            self.state,
            StepState::Undoing | StepState::Retrying | StepState::Failed | StepState::Done
        );
        may_work && self.undo_request.is_some()
    }
}

/// What a message means for the step with that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Done(usize),
    Refused(usize),
    Undone(usize),
    UndoRefused(usize),
}

/// How a compensation stands after everything that could be done now was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It waits for an answer, a timeout or an operator.
    Open,
    /// Everything is undone.
    Finished,
}

impl Ledger {
    /// What a message means for the steps, if it answers one.
    pub(crate) fn meaning(&self, answer: Answer<'_>) -> Option<Meaning> {
        match answer.to {
            Some(request) => self.meaning_of_reply(request, answer.type_name),
            None => self.meaning_of_event(answer),
        }
    }

    fn meaning_of_reply(&self, request: &str, type_name: &str) -> Option<Meaning> {
        let is = |id: &MessageId| id.as_str() == request;
        let undo = self
            .steps
            .iter()
            .position(|step| step.undo_request.as_ref().is_some_and(is));
        if let Some(at) = undo {
            let worked = self.steps[at].undo.undone_by.as_deref() == Some(type_name);
            return Some(if worked {
                Meaning::Undone(at)
            } else {
                Meaning::UndoRefused(at)
            });
        }
        let at = self
            .steps
            .iter()
            .position(|step| step.done_by.is_some() && is(&step.request))?;
        let worked = self.steps[at].done_by.as_deref() == Some(type_name);
        Some(if worked {
            Meaning::Done(at)
        } else {
            Meaning::Refused(at)
        })
    }

    /// An event is no refusal, for a request may cause any number of events. It answers the step that caused it, else
    /// the oldest that waits for it.
    fn meaning_of_event(&self, answer: Answer<'_>) -> Option<Meaning> {
        let find = |waits: fn(&StoredStep) -> (Option<&str>, Option<&MessageId>)| {
            let waiting = |step: &StoredStep| waits(step).0 == Some(answer.type_name);
            let caused =
                |step: &StoredStep| waits(step).1.is_some_and(|id| Some(id.as_str()) == answer.cause);
            let exact = self.steps.iter().position(|step| waiting(step) && caused(step));
            exact.or_else(|| self.steps.iter().position(waiting))
        };
        let done = find(|step| match step.state {
            StepState::Pending | StepState::Overdue => (step.done_by.as_deref(), Some(&step.request)),
            _ => (None, None),
        });
        let undone = || {
            find(|step| match step.awaits_undo() {
                true => (step.undo.undone_by.as_deref(), step.undo_request.as_ref()),
                false => (None, None),
            })
        };
        done.map(Meaning::Done).or_else(|| undone().map(Meaning::Undone))
    }

    /// Takes an answer.
    pub(crate) fn take(
        &mut self,
        turn: &mut Turn,
        policy: &CompensationPolicy,
        meaning: Meaning,
        type_name: &str,
    ) {
        match meaning {
            Meaning::Done(at) => self.done(turn, at),
            Meaning::Refused(at) => self.refused(turn, at),
            Meaning::Undone(at) => self.undone(turn, at),
            Meaning::UndoRefused(at) => self.undo_refused(turn, policy, at, type_name),
        }
    }

    /// A step is done. One that was refused before counts as done all the same: its effect is there.
    fn done(&mut self, turn: &mut Turn, at: usize) {
        let step = &mut self.steps[at];
        if matches!(
            step.state,
            StepState::Pending | StepState::Overdue | StepState::Refused
        ) {
            step.state = StepState::Done;
        }
        self.cancel_timeouts(turn, |purpose| purpose == Purpose::Answer(at));
    }

    fn refused(&mut self, turn: &mut Turn, at: usize) {
        let step = &mut self.steps[at];
        if matches!(step.state, StepState::Pending | StepState::Overdue) {
            step.state = StepState::Refused;
        }
        self.cancel_timeouts(turn, |purpose| purpose == Purpose::Answer(at));
    }

    /// An undo has worked; also one that was thought to have failed.
    fn undone(&mut self, turn: &mut Turn, at: usize) {
        let step = &mut self.steps[at];
        if step.awaits_undo() {
            step.state = StepState::Undone;
            step.unanswered = false;
            step.note = None;
        }
        self.cancel_timeouts(
            turn,
            |purpose| matches!(purpose, Purpose::Undo(of) | Purpose::Retry(of) if of == at),
        );
    }

    fn undo_refused(&mut self, turn: &mut Turn, policy: &CompensationPolicy, at: usize, by: &str) {
        let step = &mut self.steps[at];
        if step.state != StepState::Undoing {
            if step.unanswered {
                // Now that it is answered, an operator's retry is a new message.
                step.unanswered = false;
                step.note = Some(refusal(by, step.attempts));
            }
            return;
        }
        if step.attempts < policy.undo_attempts {
            step.state = StepState::Retrying;
            let due = turn.now + policy.backoff(step.attempts);
            let name = format!("retry {}", step.undo.type_name);
            self.request_timeout(turn, Purpose::Retry(at), name, nothing(), due);
        } else {
            step.state = StepState::Failed;
            step.note = Some(refusal(by, step.attempts));
        }
        self.cancel_timeouts(turn, |purpose| purpose == Purpose::Undo(at));
    }

    /// Takes a timeout of a step.
    pub(crate) fn timed_out(&mut self, turn: &mut Turn, policy: &CompensationPolicy, purpose: Purpose) {
        match purpose {
            Purpose::Answer(at) => {
                if let Some(step) = self
                    .steps
                    .get_mut(at)
                    .filter(|step| step.state == StepState::Pending)
                {
                    step.state = StepState::Overdue;
                }
            }
            Purpose::Undo(at) => self.undo_unanswered(turn, policy, at),
            Purpose::Retry(at) => {
                if self
                    .steps
                    .get(at)
                    .is_some_and(|step| step.state == StepState::Retrying)
                {
                    self.send_undo(turn, policy, at);
                }
            }
            Purpose::Own | Purpose::Resume => {}
        }
    }

    /// Nobody answered an undo. It is sent again under the same id, so that it can't be carried out twice.
    fn undo_unanswered(&mut self, turn: &mut Turn, policy: &CompensationPolicy, at: usize) {
        let Some(step) = self
            .steps
            .get_mut(at)
            .filter(|step| step.state == StepState::Undoing)
        else {
            return;
        };
        if step.attempts < policy.undo_attempts {
            step.unanswered = true;
            self.send_undo(turn, policy, at);
        } else {
            step.state = StepState::Failed;
            step.unanswered = true;
            step.note = Some(format!("not answered after {} attempts", step.attempts));
        }
    }

    /// Sends the undo of a step. One that is not answered yet goes under the id that it has.
    fn send_undo(&mut self, turn: &mut Turn, policy: &CompensationPolicy, at: usize) {
        let step = &mut self.steps[at];
        let outgoing = turn.send_encoded(step.undo.type_name.clone(), step.undo.body.to_bytes());
        outgoing.to.clone_from(&step.undo.to);
        if let Some(id) = step.undo_request.take().filter(|_| step.unanswered) {
            outgoing.id = id;
        }
        step.unanswered = false;
        step.note = None;
        step.undo_request = Some(outgoing.id.clone());
        step.attempts += 1;
        if step.undo.undone_by.is_none() {
            step.state = StepState::Undone;
            return;
        }
        step.state = StepState::Undoing;
        let name = format!("answer to {}", step.undo.type_name);
        let due = turn.now + policy.undo_within;
        self.request_timeout(turn, Purpose::Undo(at), name, nothing(), due);
    }

    /// Begins to undo, unless that has begun.
    pub(crate) fn begin_compensation(&mut self, now: Timestamp, reason: String) {
        if self.compensation.is_none() {
            self.compensation = Some(crate::stored::StoredCompensation { reason, started: now });
            self.status = Status::Compensating;
            self.completing = false;
        }
    }

    /// Does everything that can be done now.
    pub(crate) fn advance(&mut self, turn: &mut Turn, policy: &CompensationPolicy) -> Progress {
        let Some(started) = self
            .compensation
            .as_ref()
            .map(|compensation| compensation.started)
        else {
            return Progress::Open;
        };
        loop {
            let waits = |step: &StoredStep| matches!(step.state, StepState::Undoing | StepState::Retrying);
            if self.steps.iter().any(waits) {
                self.status = Status::Compensating;
                return Progress::Open;
            }
            let open = |step: &StoredStep| {
                matches!(
                    step.state,
                    StepState::Pending | StepState::Done | StepState::Failed
                )
            };
            let next = if goes_forward() {
                self.steps.iter().position(open)
            } else {
                self.steps.iter().rposition(open)
            };
            let Some(at) = next else {
                // A step that nobody answered keeps the saga: its late success must find somebody to undo it.
                if self.all_answered() {
                    return Progress::Finished;
                }
                self.status = Status::Stuck;
                return Progress::Open;
            };
            match self.steps[at].state {
                StepState::Done => self.send_undo(turn, policy, at),
                StepState::Pending => {
                    if self.await_answer(turn, policy, at, started) {
                        self.status = Status::Compensating;
                        return Progress::Open;
                    }
                }
                _ => {
                    self.status = Status::Stuck;
                    return Progress::Open;
                }
            }
        }
    }

    /// Returns whether there is still time for the answer to a step.
    fn await_answer(
        &mut self,
        turn: &mut Turn,
        policy: &CompensationPolicy,
        at: usize,
        started: Timestamp,
    ) -> bool {
        let step = &mut self.steps[at];
        let limit = step
            .answer_within_ms
            .map_or(policy.answer_within, Duration::from_millis);
        let due = step.sent.max(started) + limit;
        if due < turn.now {
            step.state = StepState::Overdue;
            return false;
        }
        let name = format!("answer to {}", step.type_name);
        if !self
            .timeouts
            .iter()
            .any(|timeout| timeout.purpose == Purpose::Answer(at))
        {
            self.request_timeout(turn, Purpose::Answer(at), name, nothing(), due);
        }
        true
    }
}

fn refusal(by: &str, attempts: u32) -> String {
    format!("answered by {by} after {attempts} attempts")
}

/// The body of the framework's own timeouts: their record says what they are for.
fn nothing() -> Bytes {
    Bytes::from_static(b"null")
}
/// Whether a simulation makes compensation wrong on purpose.
fn goes_forward() -> bool {
    #[cfg(feature = "simulation")]
    return longhaul_core::probe::is_mutated(longhaul_core::probe::Mutant::UndoneForward);
    #[cfg(not(feature = "simulation"))]
    return false;
}
