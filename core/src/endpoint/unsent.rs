//! With a store that does not last: which outputs of which messages only this process has.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::MessageId;

/// Rows that the broker does not have yet, each with the message whose handling made it. A message is not acknowledged
/// while it has one here, whichever of its copies comes.
///
/// Bounded like the rows in the store: what is refused counts towards the endpoint's backlog, which stops the intake, and
/// what was cut short the relay sends.
#[derive(Debug, Default)]
pub(crate) struct Unsent(Mutex<HashMap<MessageId, MessageId>>);

impl Unsent {
    fn lock(&self) -> MutexGuard<'_, HashMap<MessageId, MessageId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows that are about to be committed for a message.
    pub(crate) fn add<'a>(&self, message: &MessageId, rows: impl IntoIterator<Item = &'a MessageId>) {
        let rows = rows.into_iter().map(|row| (row.clone(), message.clone()));
        self.lock().extend(rows);
    }

    /// Nothing was committed for the message.
    pub(crate) fn forget(&self, message: &MessageId) {
        self.lock().retain(|_, of| of != message);
    }

    /// The broker has the row, or never takes it.
    pub(crate) fn remove(&self, row: &MessageId) {
        self.lock().remove(row);
    }

    /// Whether outputs of the message are only here.
    pub(crate) fn has_any_of(&self, message: &MessageId) -> bool {
        self.lock().values().any(|of| of == message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> MessageId {
        MessageId::new(text).expect("an id")
    }

    #[test]
    fn when_the_last_row_of_a_message_is_sent_nothing_of_it_is_left() {
        let unsent = Unsent::default();
        unsent.add(&id("m-1"), [&id("r-1"), &id("r-2")]);
        unsent.add(&id("m-2"), [&id("r-3")]);
        unsent.remove(&id("r-1"));
        assert!(unsent.has_any_of(&id("m-1")));
        unsent.remove(&id("r-2"));
        assert!(!unsent.has_any_of(&id("m-1")));
        unsent.forget(&id("m-2"));
        assert!(!unsent.has_any_of(&id("m-2")));
    }
}
