//! Suspicious messages that this process has marked as begun: it is still here, so they have not ended it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::within;
use crate::endpoint::known::Known;
use crate::endpoint::probing::pass;
use crate::endpoint::shared::Shared;
use crate::ids::MessageId;
use crate::store::{InboxChange, InboxState, Store, StoreError, StoreErrorKind, UnitOfWork};

/// The most marks that are kept. One suspicious message runs at a time, and a mark stays only where the store was away
/// when it should have been taken back.
const MOST: usize = 1024;

/// The marks of this process, newest first.
#[derive(Debug, Default)]
pub(crate) struct Begun(Mutex<VecDeque<Mark>>);

#[derive(Debug, Clone)]
struct Mark {
    id: MessageId,
    /// What the inbox said before.
    before: Option<InboxState>,
    started: InboxState,
}

impl Begun {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Mark>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mark: Mark) {
        let mut marks = self.lock();
        marks.retain(|other| other.id != mark.id);
        marks.truncate(MOST - 1);
        marks.push_front(mark);
    }

    fn get(&self, id: &MessageId) -> Option<Mark> {
        self.lock().iter().find(|mark| mark.id == *id).cloned()
    }

    /// Whether it is this process that the inbox says has begun the message.
    pub(crate) fn is_ours(&self, id: &MessageId, inbox: Option<InboxState>) -> bool {
        self.get(id).is_some_and(|mark| inbox == Some(mark.started))
    }

    /// The inbox says something else of the message by now.
    pub(crate) fn forget(&self, id: &MessageId) {
        self.lock().retain(|mark| mark.id != *id);
    }
}

/// Notes that a suspicious message is begun, so that the next process knows if this one ends.
pub(crate) async fn mark_started(
    shared: &Shared,
    store: &dyn Store,
    id: &MessageId,
    known: &mut Known,
) -> Result<(), StoreError> {
    let now = shared.clock.now();
    let started = InboxState::Started {
        generation: known.generation,
        attempts: known.attempts,
        times: before(known.state).saturating_add(1),
        since: known.since.unwrap_or(now),
    };
    // Before the commit: one whose outcome is unknown may have marked it.
    shared.begun.add(Mark {
        id: id.clone(),
        before: known.state,
        started,
    });
    pass!(shared, Before MarkStarted);
    let marked = change(shared, store, id, known.state, Some(started)).await;
    pass!(shared, After MarkStarted);
    marked?;
    known.state = Some(started);
    Ok(())
}

/// How often the message was begun alone before.
pub(crate) fn before(state: Option<InboxState>) -> u32 {
    match state {
        Some(InboxState::Started { times, .. }) => times,
        _ => 0,
    }
}

/// Takes a mark back, as far as the store lets it: what was given back has ended nothing, and another process may get it.
pub(crate) async fn unmark(shared: &Shared, store: &dyn Store, id: &MessageId) -> Result<(), StoreError> {
    let Some(mark) = shared.begun.get(id) else {
        return Ok(());
    };
    match change(shared, store, id, Some(mark.started), mark.before).await {
        // In a conflict the mark is gone already.
        Err(error) if error.kind() != StoreErrorKind::Conflict => Err(error),
        Ok(()) | Err(_) => {
            shared.begun.forget(id);
            Ok(())
        }
    }
}

/// Takes all marks back when the endpoint ends, whatever it could not finish.
pub(crate) async fn unmark_all(shared: &Shared) {
    let Some(store) = shared.store.as_deref() else {
        return;
    };
    let ids: Vec<MessageId> = shared.begun.lock().iter().map(|mark| mark.id.clone()).collect();
    let rest = async {
        for id in &ids {
            if let Err(error) = unmark(shared, store, id).await {
                tracing::warn!(%id, %error, "could not note that a message is given back");
                return;
            }
        }
    };
    // Out of time, the mark stays: the next process takes the message for one that ended this process.
    let _ = within(&*shared.clock, shared.settings.stop_limit, rest).await;
}

async fn change(
    shared: &Shared,
    store: &dyn Store,
    id: &MessageId,
    expected: Option<InboxState>,
    next: Option<InboxState>,
) -> Result<(), StoreError> {
    let change = InboxChange {
        id: id.clone(),
        expected,
        next,
        at: shared.clock.now(),
    };
    let work = UnitOfWork {
        inbox: vec![change],
        ..UnitOfWork::default()
    };
    shared.commit(store, work).await
}
