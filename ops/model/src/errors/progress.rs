//! How far an action is, and what came of it.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::errors::failed::Failed;
use crate::errors::filter::Selection;

/// The most problems that are told one by one.
const TOLD: usize = 20;

/// How far an action is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many messages it expects to look at.
    pub expected: u64,
    /// How many it has looked at.
    pub seen: u64,
    /// How many are done.
    pub done: u64,
    /// How many could not be done, and stay.
    pub failed: u64,
}

/// What came of an action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// How many messages were looked at.
    pub seen: u64,
    /// How many were meant.
    pub matched: u64,
    /// How many are done.
    pub done: u64,
    /// How many could not be done, and stay where they are.
    pub failed: u64,
    /// How many have their body elsewhere, which stayed there: what was written or sent of them is where it is.
    pub elsewhere: u64,
    /// Why, for the first twenty.
    pub problems: Vec<Problem>,
    /// Ids that were asked for and that no message had.
    pub missing: BTreeSet<String>,
}

impl Outcome {
    /// Of an action about these, which are still to come.
    pub(crate) fn about(selection: &Selection) -> Self {
        Self {
            missing: selection.ids(),
            ..Self::default()
        }
    }

    /// One that was meant.
    pub(crate) fn meet(&mut self, failed: &Failed) {
        self.matched += 1;
        if let Some(id) = &failed.id {
            self.missing.remove(id);
        }
    }

    pub(crate) fn fail(&mut self, id: Option<&str>, why: impl Into<String>) {
        self.failed += 1;
        if self.problems.len() < TOLD {
            self.problems.push(Problem {
                id: id.map(str::to_owned),
                why: why.into(),
            });
        }
    }

    /// Adds what came of more of the same.
    pub fn add(&mut self, more: Self) {
        self.seen += more.seen;
        self.matched += more.matched;
        self.done += more.done;
        self.failed += more.failed;
        self.elsewhere += more.elsewhere;
        self.missing.extend(more.missing);
        let room = TOLD.saturating_sub(self.problems.len());
        self.problems.extend(more.problems.into_iter().take(room));
    }

    pub(crate) fn progress(&self, expected: u64) -> Progress {
        Progress {
            expected,
            seen: self.seen,
            done: self.done,
            failed: self.failed,
        }
    }
}

/// Why one message could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which.
    pub id: Option<String>,
    /// Why; reads after "failed to".
    pub why: String,
}
