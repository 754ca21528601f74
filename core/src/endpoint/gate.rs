//! Whether a message that came in counts: what the inbox says about its id, and the row about an alarm.

use crate::clock::Timestamp;
use crate::endpoint::arrival::{Original, Ready};
use crate::endpoint::known::Known;
use crate::endpoint::probing::mutated;
use crate::endpoint::process::Ending;
use crate::endpoint::settings::{ENDS, TICK};
use crate::endpoint::shared::Shared;
use crate::handler::HandlerError;
use crate::headers;
use crate::ids::MessageId;
use crate::reason::Reason;
use crate::store::{
    InboxChange, InboxState, LoadRequest, Loaded, PendingChange, PendingRow, Record, RecordKey, Store,
    StoreError, StoreErrorKind, UnitOfWork,
};

/// What the inbox says about a message that came in.
pub(crate) enum Gate {
    /// Handle it; so often it was tried before.
    Open(Known),
    /// It was handled already, or another copy counts.
    Duplicate,
    /// It ended the process before.
    Killer(Known),
}

/// What a message is set aside with that ended the process before.
pub(crate) fn killed() -> HandlerError {
    let text = "handle the message: the process ended while it was being handled, more than once";
    HandlerError::permanent(text).with_reason(Reason::KilledProcess)
}

pub(crate) fn gate(shared: &Shared, original: &Original<'_>, inbox: Option<InboxState>) -> Gate {
    let generation = original.envelope.number(headers::GENERATION).unwrap_or(0);
    match inbox {
        None => Gate::Open(Known::default()),
        Some(_) if mutated!(InboxIgnored) => Gate::Open(Known::stored(original.envelope, inbox)),
        Some(InboxState::Done) => Gate::Duplicate,
        Some(InboxState::Failed { .. }) if !original.is_replayed() => Gate::Duplicate,
        Some(InboxState::Failed { .. }) => Gate::Open(Known::stored(original.envelope, inbox)),
        Some(InboxState::Scheduled {
            generation: counts, ..
        }) => {
            if generation < u64::from(counts) {
                Gate::Duplicate
            } else {
                Gate::Open(Known::stored(original.envelope, inbox))
            }
        }
        Some(InboxState::Started {
            generation: counts,
            times,
            ..
        }) => {
            let known = Known::stored(original.envelope, inbox);
            if generation < u64::from(counts) {
                Gate::Duplicate
            } else if shared.begun.is_ours(original.id(), inbox) || times < ENDS {
                Gate::Open(known)
            } else {
                Gate::Killer(known.and_failed(times))
            }
        }
    }
}

/// What the inbox says, the row of an alarm where it is still there, and these records, for a message of which no more can be
/// loaded.
pub(crate) async fn look_up(
    shared: &Shared,
    store: &dyn Store,
    original: &Original<'_>,
    records: Vec<RecordKey>,
) -> Result<(Option<InboxState>, Option<MessageId>, Vec<Option<Record>>), StoreError> {
    let mut request = LoadRequest {
        inbox: original.id().clone(),
        records,
        pending: original.row.clone(),
        now: shared.clock.now(),
    };
    let mut loaded = shared.load(store, &request).await;
    let is_unreadable = |error: &StoreError| error.kind() == StoreErrorKind::Unreadable;
    if request.pending.is_some() && loaded.as_ref().is_err_and(is_unreadable) {
        request.pending = None;
        loaded = shared.load(store, &request).await;
    }
    let loaded = loaded?;
    let row = loaded.pending.filter(|row| Some(row.token) == original.token());
    Ok((loaded.inbox, row.map(|row| row.id), loaded.records))
}

/// An alarm whose row is gone, moved or parked is stale; one that comes early leaves its row to the relay.
pub(crate) async fn alarm_that_does_not_count(
    shared: &Shared,
    store: &dyn Store,
    ready: &Ready<'_>,
    loaded: &Loaded,
) -> Option<Ending> {
    let original = ready.original();
    // The copies of a replay that failed once more, too, are for the row that was set aside.
    let is_retried = matches!(
        loaded.inbox,
        Some(InboxState::Scheduled { .. } | InboxState::Started { .. })
    );
    let counts = |row: &&PendingRow| {
        let is_sent_back = original.is_replayed() || original.edited_from().is_some();
        Some(row.token) == original.token() && (row.parked.is_none() || is_sent_back || is_retried)
    };
    let Some(row) = loaded.pending.as_ref().filter(counts) else {
        shared.counters.stale_alarms.one();
        tracing::debug!(id = %ready.id(), "an alarm is of a timeout that was cancelled, moved or set aside, or has fired");
        return Some(Ending::Settled);
    };
    let due = row.due.unwrap_or(Timestamp::MIN);
    if shared.clock.now() > due || mutated!(AlarmTooEarly) {
        return None;
    }
    tracing::debug!(id = %row.id, %due, "an alarm came early; the store fires the timeout when its time has come");
    let attention = due + TICK;
    if loaded.inbox.is_none() && row.parked.is_none() {
        shared.marks.add(PendingChange::Defer {
            id: row.id.clone(),
            token: Some(row.token),
            attention,
        });
        return Some(Ending::Settled);
    }
    Some(begin_anew(shared, store, ready, loaded, row, attention).await)
}

/// An alarm of a retry or a replay came early: what is known of it is forgotten, and its row is as it was before it rang,
/// so that it can ring again.
async fn begin_anew(
    shared: &Shared,
    store: &dyn Store,
    ready: &Ready<'_>,
    loaded: &Loaded,
    row: &PendingRow,
    attention: Timestamp,
) -> Ending {
    let row = PendingRow {
        attention,
        alarm_sent: false,
        parked: None,
        ..row.clone()
    };
    let forget = loaded.inbox.map(|state| InboxChange {
        id: ready.id().clone(),
        expected: Some(state),
        next: None,
        at: shared.clock.now(),
    });
    let work = UnitOfWork {
        inbox: forget.into_iter().collect(),
        pending: vec![PendingChange::Add(Box::new(row))],
        ..UnitOfWork::default()
    };
    match shared.commit(store, work).await {
        Ok(()) => {
            shared.begun.forget(ready.id());
            Ending::Settled
        }
        Err(error) => {
            tracing::warn!(id = %ready.id(), %error, "could not put off an alarm that came early; it is given back");
            Ending::GiveBack
        }
    }
}
