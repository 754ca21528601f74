//! Handles one message: claim, load, handle, commit, acknowledge, dispatch.

use std::sync::Arc;

use crate::endpoint::arrival::{self, Arrival, Ready, Rejected};
use crate::endpoint::attempt::{Attempt, attempt};
use crate::endpoint::begun::{mark_started, unmark};
use crate::endpoint::error_queue::give_up;
use crate::endpoint::failing;
use crate::endpoint::gate::{Gate, alarm_that_does_not_count, gate, killed, look_up};
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::rejecting::reject;
use crate::endpoint::settings::{CONFLICTS, RELEASE};
use crate::endpoint::shared::Shared;
use crate::endpoint::storeless::storeless;
use crate::envelope::Incoming;
use crate::handler::HandlerError;
use crate::ids::MessageId;
use crate::outbound::Outbound;
use crate::reason::Reason;
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
    // Nobody closes it: there is a permit sooner or later.
    let _permit = shared.permits.acquire().await;
    pass!(shared, After TakeTurn);
    match shared.store.as_deref() {
        Some(store) => with_store(shared, store, &ready).await,
        None => storeless(shared, &ready).await,
    }
}

async fn with_store(shared: &Arc<Shared>, store: &dyn Store, ready: &Ready<'_>) -> Ending {
    let original = ready.original();
    let mut conflicts = 0;
    let mut immediate = 0;
    let mut kept: Vec<Outbound> = Vec::new();
    loop {
        let loaded = match load(shared, store, ready).await {
            Ok(loaded) => loaded,
            Err(error) => return not_loaded(shared, store, ready, &error).await,
        };
        let mut known = match gate(shared, &original, loaded.inbox) {
            Gate::Open(known) => {
                // It is not handled, so that what an attempt wanted to send is not committed.
                shared.unsent.forget(ready.id());
                known
            }
            Gate::Duplicate => return duplicate(shared, ready.id()),
            Gate::Killer(known) => return give_up(shared, &original, &known, &killed()).await,
        };
        if ready.is_alarm()
            && let Some(ending) = alarm_that_does_not_count(shared, store, ready, &loaded).await
        {
            return ending;
        }
        if let Some(error) = failing::too_old(shared, ready, &loaded) {
            return give_up(shared, &original, &known, &error).await;
        }
        if ready.alone
            && !shared.begun.is_ours(ready.id(), known.state)
            && let Err(error) = mark_started(shared, store, ready.id(), &mut known).await
        {
            return stuck(shared, ready.id(), &error);
        }
        match attempt(shared, store, ready, &loaded, &known, &mut kept).await {
            Attempt::Committed => {
                shared.begun.forget(ready.id());
                return Ending::Settled;
            }
            Attempt::Again => {
                shared.counters.conflicts.one();
                conflicts += 1;
                if conflicts >= CONFLICTS {
                    tracing::warn!(id = %ready.id(), "lost the race for the same state too often; trying later");
                    return Ending::GiveBack;
                }
            }
            Attempt::Stuck(error) => return stuck(shared, ready.id(), &error),
            Attempt::Absent => return failing::put_off(shared, store, &original, &known).await,
            Attempt::Failed(error) => {
                let error = shared.settings.rules.classified(error);
                immediate += 1;
                kept.clear();
                if let Some(ending) = failing::fail(shared, &original, &known, immediate, &error).await {
                    return ending;
                }
            }
        }
    }
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

/// Keys that can't be used and state that can't be read set the message aside, once: the inbox counts as ever.
async fn not_loaded(shared: &Shared, store: &dyn Store, ready: &Ready<'_>, error: &StoreError) -> Ending {
    let reason = match error.kind() {
        StoreErrorKind::Unreadable => Reason::UnreadableState,
        StoreErrorKind::Refused => Reason::BadCorrelation,
        _ => return stuck(shared, ready.id(), error),
    };
    let original = ready.original();
    pass!(shared, Before Load);
    let found = look_up(shared, store, &original).await;
    pass!(shared, After Load);
    let (inbox, row) = match found {
        Ok(found) => found,
        Err(error) => return stuck(shared, ready.id(), &error),
    };
    let original = original.with_row(row);
    match gate(shared, &original, inbox) {
        Gate::Duplicate => duplicate(shared, ready.id()),
        Gate::Open(known) => {
            let error = HandlerError::permanent(error).with_reason(reason);
            give_up(shared, &original, &known.and_failed(1), &error).await
        }
        Gate::Killer(known) => give_up(shared, &original, &known, &killed()).await,
    }
}

/// The store can't be used for now.
pub(crate) fn stuck(shared: &Shared, id: &MessageId, error: &StoreError) -> Ending {
    tracing::warn!(%id, %error, "could not use the store; the message is given back");
    shared.counters.failures.one();
    Ending::GiveBack
}

async fn load(shared: &Shared, store: &dyn Store, ready: &Ready<'_>) -> Result<Loaded, StoreError> {
    let request = LoadRequest {
        inbox: ready.id().clone(),
        records: ready.keys.clone(),
        pending: ready.row(),
        now: shared.clock.now(),
    };
    pass!(shared, Before Load);
    let loaded = shared.load(store, &request).await;
    pass!(shared, After Load);
    loaded
}
