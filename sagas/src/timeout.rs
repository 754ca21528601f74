//! Timeouts of a saga: their ids, when they are due, and what they are called.

use std::fmt;
use std::time::Duration;

use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::outbound::Delay;
use serde::{Deserialize, Serialize};

/// Names a timeout that was asked for. It may be kept in the state of the saga, to cancel or move the timeout later.
///
/// ```
/// # use longhaul_core::handler::HandlerResult;
/// # use longhaul_sagas::{Definition, Saga, SagaContext, TimeoutId};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize)]
/// struct Order { deadline: Option<TimeoutId> }
/// # #[derive(Serialize, Deserialize)]
/// # enum Deadline { Unpaid }
/// # impl Saga for Order {
/// #     const NAME: &'static str = "order";
/// #     type Id = u64;
/// #     type Timeout = Deadline;
/// #     fn define(_: &mut Definition<Self>) {}
/// # }
///
/// impl Order {
///     fn paid(&mut self, ctx: &mut SagaContext<Self>) {
///         if let Some(deadline) = self.deadline.take() {
///             ctx.cancel_timeout(&deadline);
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeoutId(pub(crate) MessageId);

impl TimeoutId {
    /// The id as lists of pending timeouts show it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for TimeoutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A time to come: a [`Duration`] from now, or a [`Timestamp`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a time to come",
    label = "neither a `Duration` nor a `Timestamp`",
    note = "give a `Duration` from now, such as `Duration::from_secs(60)`, or a `Timestamp`"
)]
pub trait When {
    /// The same, as plain data.
    fn delay(self) -> Delay;
}

impl When for Duration {
    fn delay(self) -> Delay {
        Delay::After(self)
    }
}

impl When for Timestamp {
    fn delay(self) -> Delay {
        Delay::At(self)
    }
}

impl When for Delay {
    fn delay(self) -> Delay {
        self
    }
}

/// What a timeout is called in lists: the name of its variant, where it is an enum.
pub(crate) fn name_of<T: Serialize>(timeout: &T) -> String {
    const MOST: usize = 100;
    let name = match serde_json::to_value(timeout) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(fields)) if fields.len() == 1 => {
            fields.keys().next().cloned().unwrap_or_default()
        }
        _ => "timeout".to_owned(),
    };
    name.chars().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_timeout_is_an_enum_its_variant_is_its_name() {
        #[derive(Serialize)]
        enum Deadline {
            PaymentOverdue,
            Reminder { number: u32 },
        }
        assert_eq!(name_of(&Deadline::PaymentOverdue), "PaymentOverdue");
        assert_eq!(name_of(&Deadline::Reminder { number: 2 }), "Reminder");
        assert_eq!(name_of(&(1, 2)), "timeout");
    }
}
