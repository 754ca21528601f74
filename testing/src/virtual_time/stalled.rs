//! Virtual time that can't go on.

use std::fmt;

use longhaul_core::clock::Timestamp;

/// Why [`VirtualTime::try_block_on`](super::VirtualTime::try_block_on) gave up. Reads after "failed to".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalled {
    pub(super) now: Timestamp,
    pub(super) next: Option<Timestamp>,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.next {
            None => write!(
                f,
                "run on: deadlock at {}: nothing can make progress (no future was woken, no timer is set on the \
                 clock, nothing outside is busy); look for a message that nobody sends, or name the busy thread with \
                 `also_waiting_for`",
                self.now
            ),
            Some(next) => write!(
                f,
                "run on: at {} the next timer is only at {next}, after the deadline; look for what should have ended \
                 by then, or give up later with `giving_up_at`",
                self.now
            ),
        }
    }
}

impl std::error::Error for Stalled {}
