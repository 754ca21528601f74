//! Handles one message: claim, load, handle, commit, acknowledge, dispatch.

use std::sync::Arc;

use crate::endpoint::arrival::{self, Arrival, Ready};
use crate::endpoint::attempt::{Attempt, attempt};
use crate::endpoint::error_queue;
use crate::endpoint::failing;
use crate::endpoint::gate::{Gate, alarm_that_does_not_count, gate};
use crate::endpoint::known::Known;
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::settings::{CONFLICTS, RELEASE};
use crate::endpoint::shared::Shared;
use crate::endpoint::storeless::storeless;
use crate::handler::HandlerError;
use crate::outbound::Outbound;
use crate::reason::Reason;
use crate::recoverability::Decision;
use crate::store::{
    InboxChange, InboxState, LoadRequest, Loaded, Store, StoreError, StoreErrorKind, UnitOfWork,
};
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
pub(crate) async fn process(
    shared: &Arc<Shared>,
    arrival: Arrival,
    read: Result<Ready<'_>, Box<arrival::Rejected>>,
) {
    shared.counters.received.one();
    let lost = arrival.settlement.as_ref().map(Settlement::lease_lost);
    let mut settlement = arrival.settlement;
    if mutated!(AckBeforeCommit)
        && let Some(settlement) = settlement.take()
    {
        drop(settlement.acknowledge().await);
    }
    let ending = match read {
        Ok(ready) => handle(shared, ready, lost).await,
        Err(rejected) => error_queue::reject(shared, &rejected).await,
    };
    let Some(settlement) = settlement else {
        return;
    };
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

type LeaseLost = futures_util::future::BoxFuture<'static, ()>;

async fn handle(shared: &Arc<Shared>, ready: Ready<'_>, lost: Option<LeaseLost>) -> Ending {
    pass!(shared, Before TakeTurn);
    ready.ticket.ready().await;
    pass!(shared, After TakeTurn);
    let work = async {
        match shared.store.as_deref() {
            Some(store) => with_store(shared, store, &ready).await,
            None => storeless(shared, &ready).await,
        }
    };
    // Whoever has the message now handles it again; what is committed already makes that a duplicate.
    tokio::select! {
        biased;
        ending = work => ending,
        () = async { match lost { Some(lost) => lost.await, None => std::future::pending().await } } => {
            tracing::warn!(id = %ready.id(), "stopped handling a message: the right to settle it was lost");
            Ending::GiveBack
        }
    }
}

async fn with_store(shared: &Arc<Shared>, store: &dyn Store, ready: &Ready<'_>) -> Ending {
    let mut conflicts = 0;
    let mut immediate = 0;
    let mut begun = None;
    let mut kept: Vec<Outbound> = Vec::new();
    loop {
        let loaded = match load(shared, store, ready).await {
            Ok(loaded) => loaded,
            Err(error) if error.kind() == StoreErrorKind::Unreadable => {
                let error = HandlerError::permanent(&error).with_reason(Reason::UnreadableState);
                return error_queue::give_up(shared, ready, &Known::default(), &error).await;
            }
            Err(error) => return stuck(shared, ready, &error),
        };
        let mut known = match gate(ready, &loaded, begun) {
            Gate::Open(known) => known,
            Gate::Duplicate => {
                shared.counters.duplicates.one();
                return Ending::Settled;
            }
            Gate::Killer(known) => {
                let text = "handle the message: the process ended while it was being handled, more than once";
                let error = HandlerError::permanent(text).with_reason(Reason::KilledProcess);
                return error_queue::give_up(shared, ready, &known, &error).await;
            }
        };
        if ready.is_alarm()
            && let Some(ending) = alarm_that_does_not_count(shared, ready, &loaded)
        {
            return ending;
        }
        if let Some(error) = failing::too_old(shared, ready, &loaded) {
            return error_queue::give_up(shared, ready, &known, &error).await;
        }
        if ready.alone && begun.is_none() {
            if let Err(error) = mark_started(shared, store, ready, &mut known).await {
                return stuck(shared, ready, &error);
            }
            begun = known.state;
        }
        match attempt(shared, store, ready, &loaded, &known, &mut kept).await {
            Attempt::Committed => return Ending::Settled,
            Attempt::Again => {
                shared.counters.conflicts.one();
                conflicts += 1;
                if conflicts >= CONFLICTS {
                    tracing::warn!(id = %ready.id(), "lost the race for the same state too often; trying later");
                    return Ending::GiveBack;
                }
            }
            Attempt::Stuck(error) => return stuck(shared, ready, &error),
            Attempt::Absent => return failing::put_off(shared, store, ready, &known).await,
            Attempt::Failed(error) => {
                immediate += 1;
                kept.clear();
                match failing::decide(shared, ready, &known, immediate, &error) {
                    Decision::RetryNow => {}
                    Decision::RetryAfter(delay) => {
                        return failing::retry_later(shared, store, ready, &known, immediate, delay, &error)
                            .await;
                    }
                    Decision::ErrorQueue => {
                        known.attempts += immediate;
                        return error_queue::give_up(shared, ready, &known, &error).await;
                    }
                }
            }
        }
    }
}

fn stuck(shared: &Shared, ready: &Ready<'_>, error: &StoreError) -> Ending {
    tracing::warn!(id = %ready.id(), %error, "could not use the store; the message is given back");
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

/// Notes that a suspicious message is begun, so that the next process knows if this one ends.
async fn mark_started(
    shared: &Shared,
    store: &dyn Store,
    ready: &Ready<'_>,
    known: &mut Known,
) -> Result<(), StoreError> {
    let now = shared.clock.now();
    let started = InboxState::Started {
        generation: known.generation,
        attempts: known.attempts,
        since: known.since.unwrap_or(now),
    };
    let change = InboxChange {
        id: ready.id().clone(),
        expected: known.state,
        next: Some(started),
        at: now,
    };
    let work = UnitOfWork {
        inbox: vec![change],
        ..UnitOfWork::default()
    };
    pass!(shared, Before MarkStarted);
    let marked = shared.commit(store, work).await;
    pass!(shared, After MarkStarted);
    marked?;
    known.state = Some(started);
    Ok(())
}
