//! Where an instance of a saga stands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an instance of a saga stands.
///
/// ```
/// assert_eq!(longhaul_sagas::Status::Compensating.to_string(), "compensating");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// On its way.
    Active,
    /// Undoing what it did.
    Compensating,
    /// Finished: what it did is undone.
    Compensated,
    /// Finished as wished.
    Completed,
    /// An undo failed for good, or a step was never answered: it waits for an operator.
    Stuck,
}

impl Status {
    /// The word in stores, lists and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Compensating => "compensating",
            Self::Compensated => "compensated",
            Self::Completed => "completed",
            Self::Stuck => "stuck",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an instance of a saga ended: what a [`NotFoundContext`](crate::NotFoundContext) tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// As wished.
    Completed,
    /// What it had done was undone.
    Compensated,
    /// An operator gave it up while it was stuck.
    GivenUp,
}

/// How far a step is that can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StepState {
    /// Not answered yet.
    Pending,
    /// Not answered within the time that a compensation waits.
    Overdue,
    /// Done.
    Done,
    /// Answered by something else: there is nothing to undo.
    Refused,
    /// The undo is sent and not answered yet.
    Undoing,
    /// The undo was refused and is sent again later.
    Retrying,
    /// The undo failed for good.
    Failed,
    /// Undone.
    Undone,
    /// An operator said that there is nothing to undo any more.
    Skipped,
}

impl StepState {
    /// The word in stores, lists and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Overdue => "overdue",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Undoing => "undoing",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Undone => "undone",
            Self::Skipped => "skipped",
        }
    }

    /// Whether an operator can do something about it: its undo failed or was refused, or it was never answered.
    #[must_use]
    pub const fn can_be_helped(self) -> bool {
        matches!(self, Self::Failed | Self::Overdue | Self::Retrying)
    }
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
