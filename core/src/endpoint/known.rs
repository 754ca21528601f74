//! What is known of a message's earlier attempts.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::headers;
use crate::store::InboxState;

/// The earlier attempts at a message.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    /// What the inbox says, which the next change expects.
    pub(crate) state: Option<InboxState>,
    /// The copy that counts: as many delayed rounds are behind it.
    pub(crate) generation: u32,
    /// How many of these rounds it was only put off for, because nothing took it yet.
    pub(crate) put_off: u32,
    /// How many of these rounds it was only held up for by a breaker or a limit.
    pub(crate) deferred: u32,
    /// Attempts that failed.
    pub(crate) attempts: u32,
    /// When it failed first.
    pub(crate) since: Option<Timestamp>,
}

impl Known {
    /// What a message says of itself, where nothing is stored.
    pub(crate) fn storeless(envelope: &Envelope) -> Self {
        let attempts = envelope.number(headers::ATTEMPTS).unwrap_or(0);
        let first_failure = envelope.headers.get(headers::FIRST_FAILURE);
        Self {
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            deferred: count(envelope, headers::DEFERRED),
            since: first_failure.and_then(|text| Timestamp::parse(text).ok()),
            ..Self::default()
        }
    }

    /// What the inbox says when another attempt is on its way.
    pub(crate) fn scheduled(&self, now: Timestamp) -> InboxState {
        InboxState::Scheduled {
            generation: self.generation,
            attempts: self.attempts,
            since: self.since.unwrap_or(now),
        }
    }

    /// As it is seen by a failure: what was only put off has not failed yet, however long ago that began.
    pub(crate) fn of_failure(self) -> Self {
        Self {
            since: self.since.filter(|_| self.attempts > 0),
            ..self
        }
    }

    /// The delayed rounds behind it that were made because it failed.
    pub(crate) const fn delayed(&self) -> u32 {
        self.generation - self.put_off - self.deferred
    }

    /// How long ago it failed first.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// With as many more attempts that failed.
    pub(crate) fn and_failed(self, more: u32) -> Self {
        Self {
            attempts: self.attempts.saturating_add(more),
            ..self
        }
    }

    /// What the inbox says, and the copy that counts.
    pub(crate) fn stored(envelope: &Envelope, state: Option<InboxState>) -> Self {
        match state {
            Some(
                InboxState::Scheduled {
                    generation,
                    attempts,
                    since,
                }
                | InboxState::Started {
                    generation,
                    attempts,
                    since,
                    ..
                },
            ) => {
                let put_off = count(envelope, headers::PUT_OFF).min(generation);
                Self {
                    state,
                    generation,
                    put_off,
                    deferred: count(envelope, headers::DEFERRED).min(generation - put_off),
                    attempts,
                    since: Some(since),
                }
            }
            // A replay begins anew.
            Some(InboxState::Failed { .. } | InboxState::Done) | None => Self {
                state,
                ..Self::default()
            },
        }
    }
}

fn count(envelope: &Envelope, name: &str) -> u32 {
    let rounds = envelope.number(name).unwrap_or(0);
    u32::try_from(rounds).unwrap_or(u32::MAX)
}
