//! Handles one message: claim, load, handle, commit, acknowledge, dispatch.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::endpoint::admission::{Admission, admit};
use crate::endpoint::arrival::{self, Arrival, Ready, Rejected};
use crate::endpoint::attempt::{Attempt, Case, attempt};
use crate::endpoint::begun::{mark_started, unmark};
use crate::endpoint::error_queue::give_up;
use crate::endpoint::failing;
use crate::endpoint::gate::{Gate, alarm_that_does_not_count, gate, killed, look_up};
use crate::endpoint::gates::Admitted;
use crate::endpoint::known::Known;
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::quarantine::{Quarantine, drop_out, set_aside};
use crate::endpoint::rejecting::reject;
use crate::endpoint::settings::{CONFLICTS, RELEASE};
use crate::endpoint::shared::Shared;
use crate::endpoint::storeless::storeless;
use crate::envelope::Incoming;
use crate::handler::HandlerError;
use crate::ids::MessageId;
use crate::outbound::Outbound;
use crate::reason::Reason;
use crate::recoverability::Outcome;
use crate::store::{LoadRequest, Loaded, Store, StoreError, StoreErrorKind};
use crate::transport::{Settled, Settlement};

/// How handling one message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// What it caused is durable: acknowledge.
    Settled,
    /// Nothing was written: give it back.
    GiveBack,
}

/// Handles one message from arrival to settlement.
pub(crate) async fn process<'a>(
    shared: &'a Arc<Shared>,
    arrival: Arrival,
    read: Result<Ready<'a>, Box<Rejected>>,
) {
    shared.counters.received.one();
    let lost = arrival.settlement.as_ref().map(Settlement::lease_lost);
    let mut settlement = arrival.settlement;
    if mutated!(AckBeforeCommit)
        && let Some(settlement) = settlement.take()
    {
        drop(settlement.acknowledge().await);
    }
    let id = match &read {
        Ok(ready) => ready.id().clone(),
        Err(rejected) => rejected.original().id().clone(),
    };
    // Whoever has the message now handles it again; what is committed already makes that a duplicate.
    let ending = tokio::select! {
        biased;
        ending = handle(shared, &arrival.incoming, arrival.alone, read) => ending,
        () = async { match lost { Some(lost) => lost.await, None => std::future::pending().await } } => {
            tracing::warn!(%id, "stopped handling a message: the right to settle it was lost");
            Ending::GiveBack
        }
    };
    if let (Ending::GiveBack, Some(store)) = (ending, shared.store.as_deref())
        && let Err(error) = unmark(shared, store, &id).await
    {
        tracing::debug!(%id, %error, "could not note that a message is given back");
    }
    if shared.store.is_none() {
        shared.given_back.note(&id, ending == Ending::GiveBack);
    }
    if let Some(settlement) = settlement {
        settle(shared, settlement, ending).await;
    }
}

async fn settle(shared: &Shared, settlement: Settlement, ending: Ending) {
    let settled = match ending {
        Ending::Settled => {
            pass!(shared, Before Acknowledge);
            let settled = settlement.acknowledge().await;
            pass!(shared, After Acknowledge);
            settled
        }
        Ending::GiveBack => {
            shared.counters.released.one();
            pass!(shared, Before Release);
            let settled = settlement.release(RELEASE).await;
            pass!(shared, After Release);
            settled
        }
    };
    match settled {
        Ok(Settled::Done) => {}
        Ok(Settled::Lost) => tracing::debug!("the message could not be settled any more and comes again"),
        Err(error) => tracing::warn!(%error, "failed to settle a message; it comes again"),
    }
}

/// Handles the message once it is its turn; one that can't be read may be read again.
async fn handle<'a>(
    shared: &'a Arc<Shared>,
    incoming: &Incoming,
    alone: bool,
    mut read: Result<Ready<'a>, Box<Rejected>>,
) -> Ending {
    pass!(shared, Before TakeTurn);
    let mut failed = 0;
    let ready = loop {
        let rejected = match read {
            Ok(ready) => break ready,
            Err(rejected) => rejected,
        };
        failed += 1;
        if let Some(ending) = reject(shared, &rejected, failed).await {
            return ending;
        }
        drop(rejected);
        read = arrival::read(shared, incoming, alone);
    };
    ready.ticket.ready().await;
    let mut progress = Progress::default();
    loop {
        let mut admitted = match admit(shared, &ready).await {
            Admission::Admitted(admitted) => admitted,
            Admission::Ended(ending) => return ending,
        };
        // Nobody closes it: there is a permit sooner or later.
        let _permit = shared.permits.acquire().await;
        pass!(shared, After TakeTurn);
        if !admitted.counts() {
            // A breaker has opened while it waited.
            continue;
        }
        let ended = match shared.store.as_deref() {
            Some(store) => with_store(shared, store, &ready, &mut progress, &mut admitted).await,
            None => storeless(shared, &ready, &mut progress, &mut admitted).await,
        };
        if let Some(ending) = ended {
            return ending;
        }
    }
}

/// What has become of one delivery of a message so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Lost races.
    conflicts: u32,
    /// Attempts that failed.
    pub(crate) failed: u32,
    /// When the first of them began.
    pub(crate) since: Option<Timestamp>,
    /// What its handlers have returned in this attempt.
    pub(crate) kept: Vec<Outbound>,
}

/// Handles a message that was admitted; `None`: it must be admitted again for another attempt.
async fn with_store(
    shared: &Arc<Shared>,
    store: &dyn Store,
    ready: &Ready<'_>,
    progress: &mut Progress,
    admitted: &mut Admitted<'_>,
) -> Option<Ending> {
    loop {
        let ended = one_attempt(shared, store, ready, progress, admitted).await;
        if ended.is_some() || !admitted.may_go_on() {
            return ended;
        }
    }
}

/// One attempt to handle a message; `None`: another follows.
async fn one_attempt(
    shared: &Arc<Shared>,
    store: &dyn Store,
    ready: &Ready<'_>,
    progress: &mut Progress,
    admitted: &mut Admitted<'_>,
) -> Option<Ending> {
    let original = ready.original();
    let (loaded, quarantine) = match load(shared, store, ready).await {
        Ok(loaded) => loaded,
        Err(error) => {
            if !matches!(error.kind(), StoreErrorKind::Unreadable | StoreErrorKind::Refused) {
                admitted.ended(Outcome::Failed { is_news: true });
            }
            return Some(not_loaded(shared, store, ready, &error).await);
        }
    };
    let mut known = match gate(shared, &original, loaded.inbox) {
        Gate::Open(known) => {
            // It is not handled, so that what an attempt wanted to send is not committed.
            shared.unsent.forget(ready.id());
            known
        }
        Gate::Duplicate => return Some(duplicate(shared, ready.id())),
        Gate::Killer(known) => {
            return Some(give_up(shared, &original, &known, &killed(), &quarantine).await);
        }
    };
    if let Some(ending) = not_its_turn(shared, store, ready, &known, &loaded, &quarantine).await {
        return Some(ending);
    }
    if ready.alone
        && !shared.begun.is_ours(ready.id(), known.state)
        && let Err(error) = mark_started(shared, store, ready.id(), &mut known).await
    {
        return Some(stuck(shared, ready.id(), &error));
    }
    let case = Case {
        loaded: &loaded,
        known: &known,
        quarantine: &quarantine,
    };
    match attempt(shared, store, ready, case, progress, admitted).await {
        Attempt::Committed => {
            admitted.ended(Outcome::Succeeded);
            shared.begun.forget(ready.id());
            Some(Ending::Settled)
        }
        Attempt::Again => {
            shared.counters.conflicts.one();
            progress.conflicts += 1;
            if progress.conflicts < CONFLICTS {
                return None;
            }
            tracing::warn!(id = %ready.id(), "lost the race for the same state too often; trying later");
            Some(Ending::GiveBack)
        }
        Attempt::Stuck(error) => {
            admitted.ended(Outcome::Failed { is_news: true });
            Some(stuck(shared, ready.id(), &error))
        }
        Attempt::Absent => Some(failing::put_off(shared, store, &original, &known, &quarantine).await),
        Attempt::Failed(error) => {
            let error = shared.settings.rules.classified(error);
            admitted.ended(failing::outcome(
                error.class(),
                progress.failed == 0 && known.attempts == 0,
            ));
            progress.failed += 1;
            progress.kept.clear();
            failing::fail(shared, &original, &known, progress.failed, &error, &quarantine).await
        }
    }
}

/// An alarm that does not count, a message that waits in order behind another, and one that is too old are not handled.
async fn not_its_turn(
    shared: &Arc<Shared>,
    store: &dyn Store,
    ready: &Ready<'_>,
    known: &Known,
    loaded: &Loaded,
    quarantine: &Quarantine,
) -> Option<Ending> {
    let original = ready.original();
    if ready.is_alarm()
        && let Some(ending) = alarm_that_does_not_count(shared, store, ready, loaded).await
    {
        return Some(match ending {
            Ending::Settled => drop_out(shared, store, &original, quarantine).await,
            Ending::GiveBack => ending,
        });
    }
    if let Some(first) = quarantine.blocked_by(&original) {
        return Some(set_aside(shared, store, &original, known, quarantine, first).await);
    }
    if let Some(error) = failing::too_old(shared, ready, loaded) {
        return Some(give_up(shared, &original, known, &error, quarantine).await);
    }
    None
}

/// The message was handled, or another copy counts.
pub(crate) fn duplicate(shared: &Shared, id: &MessageId) -> Ending {
    if shared.unsent.has_any_of(id) {
        tracing::debug!(%id, "a message that was handled is given back until its outputs are at the broker");
        return Ending::GiveBack;
    }
    shared.counters.duplicates.one();
    Ending::Settled
}

/// Why a message fails whose records can't be loaded; `None` where the store itself can't be used.
pub(crate) fn reason_of(error: &StoreError) -> Option<Reason> {
    match error.kind() {
        StoreErrorKind::Unreadable => Some(Reason::UnreadableState),
        StoreErrorKind::Refused => Some(Reason::BadCorrelation),
        _ => None,
    }
}

/// Keys that can't be used and state that can't be read set the message aside, once: the inbox counts as ever.
async fn not_loaded(shared: &Shared, store: &dyn Store, ready: &Ready<'_>, error: &StoreError) -> Ending {
    let Some(reason) = reason_of(error) else {
        return stuck(shared, ready.id(), error);
    };
    let original = ready.original();
    pass!(shared, Before Load);
    let order = ready.order.keys().cloned().collect();
    let found = look_up(shared, store, &original, order).await;
    pass!(shared, After Load);
    let (inbox, row, records) = match found {
        Ok(found) => found,
        Err(error) => return stuck(shared, ready.id(), &error),
    };
    let quarantine = Quarantine::readable(&ready.order, records);
    let original = original.with_row(row);
    match gate(shared, &original, inbox) {
        Gate::Duplicate => duplicate(shared, ready.id()),
        Gate::Open(known) => {
            if let Some(first) = quarantine.blocked_by(&original) {
                return set_aside(shared, store, &original, &known, &quarantine, first).await;
            }
            let error = HandlerError::permanent(error).with_reason(reason);
            give_up(shared, &original, &known.and_failed(1), &error, &quarantine).await
        }
        Gate::Killer(known) => give_up(shared, &original, &known, &killed(), &quarantine).await,
    }
}

/// The store can't be used for now.
pub(crate) fn stuck(shared: &Shared, id: &MessageId, error: &StoreError) -> Ending {
    tracing::warn!(%id, %error, "could not use the store; the message is given back");
    shared.counters.failures.one();
    Ending::GiveBack
}

/// Loads what handling needs, and what the message may have to wait behind.
async fn load(
    shared: &Shared,
    store: &dyn Store,
    ready: &Ready<'_>,
) -> Result<(Loaded, Quarantine), StoreError> {
    let request = LoadRequest {
        inbox: ready.id().clone(),
        records: ready.keys.iter().chain(ready.order.keys()).cloned().collect(),
        pending: ready.row(),
        now: shared.clock.now(),
    };
    pass!(shared, Before Load);
    let loaded = shared.load(store, &request).await;
    pass!(shared, After Load);
    let mut loaded = loaded?;
    let order = loaded
        .records
        .split_off(ready.keys.len().min(loaded.records.len()));
    Ok((loaded, Quarantine::read(&ready.order, order)?))
}
