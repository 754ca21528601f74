//! What an operator does to the steps of an instance that is not finished.

use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;

use crate::ledger::Ledger;
use crate::status::{Status, StepState};
use crate::stored::Purpose;
use crate::turn::Turn;

/// What an operator wants, and the saga's code must go on with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Intervention<'a> {
    /// One step, or all that wait for an operator, are tried once more.
    Retry(Option<&'a MessageId>),
    /// The step is taken out of the compensation.
    Skip(&'a MessageId),
    /// What was done is undone.
    Compensate,
}

impl Ledger {
    /// Does what an operator wants. Returns what was done, or why nothing was.
    pub(crate) fn intervene(
        &mut self,
        turn: &mut Turn,
        intervention: Intervention<'_>,
        why: String,
    ) -> Result<String, String> {
        match intervention {
            Intervention::Retry(only) => self.retry(turn, only, &why),
            Intervention::Skip(step) => self.skip(turn, step, &why),
            Intervention::Compensate => self.fail(turn.now, why),
        }
    }

    /// Undos that failed or were refused are sent again, and answers that did not come are waited for: of one step, or of all.
    fn retry(&mut self, turn: &mut Turn, only: Option<&MessageId>, why: &str) -> Result<String, String> {
        let mut retried = Vec::new();
        for at in self.helpless(only)? {
            let step = &mut self.steps[at];
            if step.state == StepState::Overdue {
                step.state = StepState::Pending;
                step.sent = turn.now;
            } else {
                step.state = StepState::Done;
                step.attempts = 0;
            }
            retried.push(step.type_name.clone());
            self.cancel_timeouts(
                turn,
                |purpose| matches!(purpose, Purpose::Retry(of) | Purpose::Answer(of) if of == at),
            );
        }
        let which = match retried.len() {
            0..=4 => retried.join(", "),
            more => format!("{more} steps"),
        };
        Ok(format!("retry {which}: {why}"))
    }

    fn skip(&mut self, turn: &mut Turn, step: &MessageId, why: &str) -> Result<String, String> {
        let mut skipped = String::new();
        for at in self.helpless(Some(step))? {
            let step = &mut self.steps[at];
            step.state = StepState::Skipped;
            step.note = Some(why.to_owned());
            skipped.clone_from(&step.type_name);
            self.cancel_timeouts(
                turn,
                |purpose| matches!(purpose, Purpose::Retry(of) | Purpose::Answer(of) if of == at),
            );
        }
        Ok(format!("skip {skipped}: {why}"))
    }

    fn fail(&mut self, now: Timestamp, why: String) -> Result<String, String> {
        if self.is_compensating() {
            return Err(compensates_already(self.status));
        }
        let what = format!("compensate: {why}");
        self.begin_compensation(now, why);
        Ok(what)
    }

    /// The steps that an operator can do something about: one, or all; at least one.
    fn helpless(&self, only: Option<&MessageId>) -> Result<Vec<usize>, String> {
        if let Some(id) = only {
            let Some(at) = self.steps.iter().position(|step| step.request == *id) else {
                return Err(no_such_step());
            };
            let step = &self.steps[at];
            return match step.state.can_be_helped() {
                true => Ok(vec![at]),
                false => Err(not_helpless(&step.type_name, step.state)),
            };
        }
        let all = self.steps.iter().enumerate();
        let all: Vec<_> = all
            .filter_map(|(at, step)| step.state.can_be_helped().then_some(at))
            .collect();
        if all.is_empty() {
            return Err(nobody_helpless(self.status));
        }
        Ok(all)
    }
}

pub(crate) fn no_such_step() -> String {
    String::from("it has no such step; see `longhaul sagas show`")
}

pub(crate) fn not_helpless(type_name: &str, state: StepState) -> String {
    format!(
        "{type_name} is {state}: only a step whose undo failed or was refused, or that was never answered, waits for an operator"
    )
}

pub(crate) fn nobody_helpless(status: Status) -> String {
    format!("it is {status}, and no step of it has failed or was never answered")
}

pub(crate) fn compensates_already(status: Status) -> String {
    match status {
        Status::Stuck => String::from("it is stuck: retry or skip its steps, or give it up as it is"),
        _ => String::from("it is compensating already"),
    }
}
