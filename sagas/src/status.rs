//! Where an instance of a saga stands.

use std::borrow::Cow;
use std::fmt;

use longhaul_core::stateful::Became;
use serde::{Deserialize, Serialize};

use crate::saga::Saga;

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

/// The word for an instance that an operator gave up, where statuses are counted.
const GIVEN_UP: &str = "given-up";

impl Status {
    const ALL: [Self; 5] = [
        Self::Active,
        Self::Compensating,
        Self::Compensated,
        Self::Completed,
        Self::Stuck,
    ];

    /// An instance has come to this status.
    pub(crate) const fn of<S: Saga>(self) -> Became {
        became::<S>(self.as_str())
    }

    /// An instance was given up.
    pub(crate) const fn given_up<S: Saga>() -> Became {
        became::<S>(GIVEN_UP)
    }

    /// All that instances may come to.
    pub(crate) fn all<S: Saga>() -> Vec<Became> {
        let all = Self::ALL.into_iter().map(Self::of::<S>);
        all.chain([Self::given_up::<S>()]).collect()
    }

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

const fn became<S: Saga>(status: &'static str) -> Became {
    Became {
        what: Cow::Borrowed(S::NAME),
        status,
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
