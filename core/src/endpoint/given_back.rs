//! Messages that an endpoint without a store gave back itself: the broker counts them as redelivered, though nothing ended.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::ids::MessageId;

/// The most messages that are kept; of more, the oldest counts like any other.
const MOST: usize = 4_096;

/// How often each message was given back, newest first.
#[derive(Debug, Default)]
pub(crate) struct GivenBack(Mutex<VecDeque<(MessageId, u32)>>);

impl GivenBack {
    /// The message was given back once more, or is done with.
    pub(crate) fn note(&self, id: &MessageId, is_given_back: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() && !is_given_back {
            return;
        }
        let at = all.iter().position(|(other, _)| other == id);
        let before = at.and_then(|at| all.remove(at)).map_or(0, |(_, count)| count);
        if is_given_back {
            all.truncate(MOST - 1);
            all.push_front((id.clone(), before.saturating_add(1)));
        }
    }

    /// How often the message was given back.
    pub(crate) fn count(&self, id: Option<&[u8]>) -> u32 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all
            .iter()
            .find(|(other, _)| Some(other.as_str().as_bytes()) == id);
        found.map_or(0, |(_, count)| *count)
    }
}
