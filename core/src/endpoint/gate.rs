//! Whether a message that came in counts: what the inbox says about its id, and the row about an alarm.

use crate::endpoint::arrival::Ready;
use crate::endpoint::known::Known;
use crate::endpoint::probing::mutated;
use crate::endpoint::process::Ending;
use crate::endpoint::settings::TICK;
use crate::endpoint::shared::Shared;
use crate::headers;
use crate::store::{InboxState, Loaded, PendingChange, PendingRow};

/// What the inbox says about a message that came in.
pub(crate) enum Gate {
    /// Handle it; so often it was tried before.
    Open(Known),
    /// It was handled already, or another copy counts.
    Duplicate,
    /// It ended the process before.
    Killer(Known),
}

pub(crate) fn gate(ready: &Ready<'_>, loaded: &Loaded, begun: Option<InboxState>) -> Gate {
    let generation = ready.envelope().number(headers::GENERATION).unwrap_or(0);
    if begun.is_some() && loaded.inbox == begun {
        // This process marked it, and is still here.
        return Gate::Open(Known::from_state(loaded.inbox));
    }
    match loaded.inbox {
        None => Gate::Open(Known::default()),
        Some(_) if mutated!(InboxIgnored) => Gate::Open(Known::from_state(loaded.inbox)),
        Some(InboxState::Done) => Gate::Duplicate,
        Some(InboxState::Failed { .. }) if !ready.is_replayed() => Gate::Duplicate,
        Some(InboxState::Failed { .. }) => Gate::Open(Known::from_state(loaded.inbox)),
        Some(InboxState::Scheduled {
            generation: counts, ..
        }) => {
            if generation < u64::from(counts) {
                Gate::Duplicate
            } else {
                Gate::Open(Known::from_state(loaded.inbox))
            }
        }
        Some(InboxState::Started {
            generation: counts,
            attempts,
            ..
        }) => {
            if generation < u64::from(counts) {
                Gate::Duplicate
            } else {
                Gate::Killer(Known {
                    attempts: attempts + 1,
                    ..Known::from_state(loaded.inbox)
                })
            }
        }
    }
}

/// An alarm whose row is gone, moved or parked is stale; one that comes early leaves its row to the relay.
pub(crate) fn alarm_that_does_not_count(
    shared: &Shared,
    ready: &Ready<'_>,
    loaded: &Loaded,
) -> Option<Ending> {
    let token = ready.envelope().number(headers::TIMEOUT_TOKEN);
    let counts =
        |row: &&PendingRow| Some(row.token) == token && (row.parked.is_none() || ready.is_replayed());
    let Some(row) = loaded.pending.as_ref().filter(counts) else {
        shared.counters.stale_alarms.one();
        return Some(Ending::Settled);
    };
    let due = row.due.unwrap_or(crate::clock::Timestamp::MIN);
    if shared.clock.now() > due || mutated!(AlarmTooEarly) {
        return None;
    }
    tracing::debug!(id = %row.id, %due, "an alarm came early; the store fires the timeout when its time has come");
    let attention = due + TICK;
    shared.marks.add(PendingChange::Defer {
        id: row.id.clone(),
        attention,
    });
    shared.relay.look_at(attention);
    Some(Ending::Settled)
}
