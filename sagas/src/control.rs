//! What an operator tells a running endpoint about an instance of a saga: messages like any other, taken only where
//! [`SagaEndpoint::operable_saga`](crate::SagaEndpoint::operable_saga) says so.

use std::fmt;

use longhaul_core::ids::MessageId;
use serde::{Deserialize, Serialize};

use crate::instance::{Instance, InstanceStep};
use crate::intervention::{compensates_already, no_such_step, nobody_helpless, not_helpless};
use crate::status::Status;

/// The version of the wire format; one that is newer is refused.
const FORMAT: u32 = 1;
const TYPE_PREFIX: &str = "longhaul.operate.";
/// The longest name of an operator, in bytes.
const BY_BYTES: usize = 200;
/// The longest reason, in bytes.
const REASON_BYTES: usize = 2_000;

/// What an operator wants of one instance. It is a command of the type [`Operate::type_name`], as JSON, in the endpoint's queue.
///
/// The endpoint handles it as it handles any other message: once, on the instance as it is then. What can't be done, because the
/// step is not stuck or the instance is finished, goes to the error queue with the reason.
///
/// ```
/// use longhaul_core::ids::MessageId;
/// use longhaul_sagas::control::{Action, Operate};
///
/// let step = MessageId::new("9c8e8f0e-6a55-5d2f-a8c5-0c5ea4a0f2f5")?;
/// let skip = Operate::new("7", Action::SkipStep { step }, "alice").because("refunded by hand");
/// assert_eq!(Operate::type_name("order"), "longhaul.operate.order");
/// assert_eq!(skip.fault(), None);
/// # Ok::<(), longhaul_core::ids::InvalidId>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Operate {
    format: u32,
    /// The instance's id, as a text.
    pub id: String,
    /// The life of the instance that is meant; `None`: whichever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<MessageId>,
    /// What to do.
    pub action: Action,
    /// Who wants it. It is kept in the instance's history.
    pub by: String,
    /// Why. It is kept in the instance's history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What to do with an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Action {
    /// Sends the undo of a step again that failed or was refused, as often as the saga's policy says, and waits once more for a step
    /// that was never answered.
    RetryStep {
        /// The id of the step's command; `None`: every step of which that can be said.
        step: Option<MessageId>,
    },
    /// Takes a step out of the compensation whose undo failed or was refused, or that was never answered: its effect was undone
    /// by hand, or does not matter.
    SkipStep {
        /// The id of the step's command.
        step: MessageId,
    },
    /// Ends an instance that is on its way: what it did is undone.
    Compensate,
    /// Ends an instance that is stuck as it is: nothing more is undone, and it counts as failed.
    GiveUp,
}

impl Operate {
    /// `action` on the instance `id`, wanted by `by`.
    pub fn new(id: impl Into<String>, action: Action, by: impl Into<String>) -> Self {
        Self {
            format: FORMAT,
            id: id.into(),
            incarnation: None,
            action,
            by: by.into(),
            reason: None,
        }
    }

    /// With the reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// For one life of the instance only: its incarnation, as [`Instance`] tells it.
    #[must_use]
    pub fn of_life(mut self, incarnation: MessageId) -> Self {
        self.incarnation = Some(incarnation);
        self
    }

    /// The wire name of the commands for the saga of that name.
    #[must_use]
    pub fn type_name(saga: &str) -> String {
        format!("{TYPE_PREFIX}{saga}")
    }

    /// What is wrong with it, if anything; the endpoint refuses it then.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let is_text = |text: &str| !text.trim().is_empty() && !text.chars().any(char::is_control);
        if self.format > FORMAT {
            return Some(format!(
                "it is in format {}, and this program knows {FORMAT}; use the `longhaul` of the endpoint's version",
                self.format
            ));
        }
        if self.by.len() > BY_BYTES || !is_text(&self.by) {
            return Some(format!(
                "the operator's name is empty, longer than {BY_BYTES} bytes, or no single line"
            ));
        }
        match &self.reason {
            Some(reason) if reason.len() > REASON_BYTES || !is_text(reason) => Some(format!(
                "the reason is empty, longer than {REASON_BYTES} bytes, or no single line"
            )),
            None if self.action.needs_reason() => Some(format!("to {} needs a reason", self.action)),
            _ => None,
        }
    }

    /// What the endpoint would do with the instance as it is, for people, or why it would refuse.
    ///
    /// # Errors
    /// The text reads after the name of the instance.
    pub fn preview(&self, instance: &Instance) -> Result<String, String> {
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        if instance.finished.is_some() {
            return Err(format!("it is finished ({})", instance.status));
        }
        if self
            .incarnation
            .as_ref()
            .is_some_and(|meant| *meant != instance.incarnation)
        {
            return Err(String::from(
                "the life that was meant is over, and another one has begun",
            ));
        }
        match &self.action {
            Action::RetryStep { step } => {
                let steps = helpless(instance, step.as_ref())?;
                Ok(format!("try again: {}", told(&steps)))
            }
            Action::SkipStep { step } => {
                let steps = helpless(instance, Some(step))?;
                Ok(format!("take out of the compensation: {}", told(&steps)))
            }
            Action::Compensate if instance.status == Status::Active => Ok(format!(
                "undo what it did ({} steps), and end it",
                instance.steps.len()
            )),
            Action::Compensate => Err(compensates_already(instance.status)),
            Action::GiveUp if instance.status == Status::Stuck => {
                Ok(String::from("end it as it is: nothing more is undone"))
            }
            Action::GiveUp => Err(format!("it is {}, not stuck", instance.status)),
        }
    }

    /// The reason and who gave it, for histories and notes.
    pub(crate) fn why(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{reason} (by {})", self.by),
            None => format!("by {}", self.by),
        }
    }
}

/// The steps that an operator can do something about: one, or all; at least one.
fn helpless<'a>(instance: &'a Instance, only: Option<&MessageId>) -> Result<Vec<&'a InstanceStep>, String> {
    let Some(id) = only else {
        let all: Vec<_> = instance
            .steps
            .iter()
            .filter(|step| step.state.can_be_helped())
            .collect();
        return match all.is_empty() {
            true => Err(nobody_helpless(instance.status)),
            false => Ok(all),
        };
    };
    let step = instance.steps.iter().find(|step| step.request == *id);
    let step = step.ok_or_else(no_such_step)?;
    match step.state.can_be_helped() {
        true => Ok(vec![step]),
        false => Err(not_helpless(&step.type_name, step.state)),
    }
}

fn told(steps: &[&InstanceStep]) -> String {
    const MOST: usize = 5;
    let shown = steps.iter().take(MOST);
    let mut shown: Vec<_> = shown
        .map(|step| format!("{} ({})", step.type_name, step.state))
        .collect();
    if steps.len() > MOST {
        shown.push(format!("and {} more", steps.len() - MOST));
    }
    shown.join(", ")
}

impl Action {
    /// Whether somebody will ask later why it was done.
    const fn needs_reason(&self) -> bool {
        !matches!(self, Self::RetryStep { .. })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RetryStep { step: None } => f.write_str("retry the steps that failed"),
            Self::RetryStep { step: Some(step) } => write!(f, "retry the step {step}"),
            Self::SkipStep { step } => write!(f, "skip the step {step}"),
            Self::Compensate => f.write_str("begin the compensation"),
            Self::GiveUp => f.write_str("give up the rest"),
        }
    }
}
