//! Handles one message: claim, load, handle, commit, acknowledge, dispatch.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::clock::within;
use crate::endpoint::arrival::{self, Arrival, Ready};
use crate::endpoint::compose::{self, Cause};
use crate::endpoint::dispatcher::{send_and_wait, send_rows_and_wait};
use crate::endpoint::failing::{self, Known};
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::settings::{CONFLICTS, RELEASE};
use crate::endpoint::shared::Shared;
use crate::handler::{HandlerError, HandlerResult, Received};
use crate::headers;
use crate::outbound::Outbound;
use crate::reason::Reason;
use crate::recoverability::Decision;
use crate::stateful::{Taken, Work};
use crate::store::{
    InboxChange, InboxState, LoadRequest, Loaded, PendingChange, PendingRow, Store, StoreError,
    StoreErrorKind, UnitOfWork,
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
        Err(rejected) => failing::reject(shared, &rejected).await,
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

/// What the inbox says about a message that came in.
enum Gate {
    /// Handle it; so often it was tried before.
    Open(Known),
    /// It was handled already, or another copy counts.
    Duplicate,
    /// It ended the process before.
    Killer(Known),
}

fn gate(ready: &Ready<'_>, loaded: &Loaded, begun: Option<InboxState>) -> Gate {
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

/// What became of one attempt.
enum Attempt {
    Committed,
    Failed(HandlerError),
    /// The store can't be asked for now.
    Stuck(StoreError),
    /// Somebody else changed what was read: look again.
    Again,
    /// Nothing takes the message yet.
    Absent,
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
                return failing::give_up(shared, ready, &Known::default(), &error).await;
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
                return failing::give_up(shared, ready, &known, &error).await;
            }
        };
        if ready.is_alarm()
            && let Some(ending) = alarm_that_does_not_count(shared, ready, &loaded)
        {
            return ending;
        }
        if let Some(error) = failing::too_old(shared, ready, &loaded) {
            return failing::give_up(shared, ready, &known, &error).await;
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
                        return failing::give_up(shared, ready, &known, &error).await;
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

/// An alarm whose row is gone, moved or parked is stale; one that comes early leaves its row to the relay.
fn alarm_that_does_not_count(shared: &Shared, ready: &Ready<'_>, loaded: &Loaded) -> Option<Ending> {
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
    let attention = due + super::settings::TICK;
    shared.marks.add(PendingChange::Defer {
        id: row.id.clone(),
        attention,
    });
    shared.relay.look_at(attention);
    Some(Ending::Settled)
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

async fn attempt(
    shared: &Arc<Shared>,
    store: &dyn Store,
    ready: &Ready<'_>,
    loaded: &Loaded,
    known: &Known,
    kept: &mut Vec<Outbound>,
) -> Attempt {
    let received = Arc::new(Received {
        attempt: known.attempts.saturating_add(1),
        last_chance: known.generation >= shared.settings.not_yet_rounds,
        now: shared.clock.now(),
        ..ready.received.clone()
    });
    if kept.len() < ready.takers.handlers.len() {
        // A conflict runs what is pure again, but never what an async handler has already done.
        pass!(shared, Before RunHandlers);
        let ran = run_handlers(shared, ready, &received).await;
        pass!(shared, After RunHandlers);
        match ran {
            Ok(outbounds) => *kept = outbounds,
            Err(error) => return Attempt::Failed(error),
        }
    }
    let mut work = UnitOfWork::default();
    pass!(shared, Before RunStateful);
    let ran = run_all(shared, ready, loaded, &received, kept, &mut work);
    pass!(shared, After RunStateful);
    let mut rows = match ran {
        Ok(Some(rows)) => rows,
        Ok(None) => return Attempt::Absent,
        Err(error) => return Attempt::Failed(error),
    };
    let id = ready.id().clone();
    work.inbox.push(InboxChange {
        id,
        expected: known.state,
        next: Some(InboxState::Done),
        at: received.now,
    });
    if let Some(row) = &loaded.pending {
        work.pending.push(PendingChange::Fire {
            id: row.id.clone(),
            token: row.token,
        });
    }
    let entries = compose::entries(shared, received.now, &mut rows);
    let durable = shared.is_durable();
    let waits = if durable { Vec::new() } else { rows.clone() };
    work.pending
        .extend(rows.into_iter().map(|row| PendingChange::Add(Box::new(row))));
    pass!(shared, Before Commit);
    let committed = if mutated!(InboxApart) {
        commit_apart(shared, store, work).await
    } else {
        shared.commit(store, work).await
    };
    pass!(shared, After Commit);
    match committed {
        Ok(()) => {}
        // After an unknown outcome the inbox is the witness.
        Err(error) if matches!(error.kind(), StoreErrorKind::Conflict | StoreErrorKind::Unknown) => {
            return Attempt::Again;
        }
        Err(error) if error.kind() == StoreErrorKind::Refused => {
            return Attempt::Failed(HandlerError::permanent(&error).with_reason(Reason::Unsendable));
        }
        Err(error) => return Attempt::Stuck(error),
    }
    shared.counters.handled.one();
    if durable {
        pass!(shared, Before Enqueue);
        shared.queue.push(entries);
        pass!(shared, After Enqueue);
    } else {
        pass!(shared, Before SendOutputs);
        send_all(shared, waits).await;
        pass!(shared, After SendOutputs);
    }
    Attempt::Committed
}

/// What must never be done: only a mutant does.
async fn commit_apart(shared: &Shared, store: &dyn Store, mut work: UnitOfWork) -> Result<(), StoreError> {
    let inbox = UnitOfWork {
        inbox: std::mem::take(&mut work.inbox),
        ..UnitOfWork::default()
    };
    shared.commit(store, work).await?;
    shared.commit(store, inbox).await
}

/// With a store that is not durable: sends committed rows and waits until the broker has them all.
async fn send_all(shared: &Shared, mut left: Vec<PendingRow>) {
    let longest = shared.longest_delay();
    let now = shared.clock.now();
    left.retain(|row| row.due.is_none_or(|due| due.since(now) <= longest));
    while !left.is_empty() {
        let mut results = send_rows_and_wait(shared, &left).await.into_iter();
        left.retain(|_| {
            results
                .next()
                .is_none_or(|result| result.is_err_and(|error| error.is_retryable()))
        });
        if !left.is_empty() {
            shared
                .clock
                .sleep_until(shared.clock.now() + shared.waits.again)
                .await;
        }
    }
}

/// Runs the handlers, one after the other.
async fn run_handlers(
    shared: &Shared,
    ready: &Ready<'_>,
    received: &Arc<Received>,
) -> HandlerResult<Vec<Outbound>> {
    let mut outbounds = Vec::with_capacity(ready.takers.handlers.len());
    for registered in &ready.takers.handlers {
        let outbound = outbound(shared, received, Arc::clone(&registered.name));
        let run = AssertUnwindSafe(registered.handler.handle(Arc::clone(received), outbound)).catch_unwind();
        let limit = shared.settings.handler_limit;
        outbounds.push(match within(&*shared.clock, limit, run).await {
            Some(Ok(result)) => result?,
            Some(Err(panic)) => return Err(failing::panicked(panic.as_ref())),
            None => {
                return Err(HandlerError::transient(format!(
                    "handle the message within {limit:?}, the limit of a handler"
                )));
            }
        });
    }
    Ok(outbounds)
}

fn outbound(shared: &Shared, received: &Received, participant: Arc<str>) -> Outbound {
    Outbound::new(
        received.envelope.id.clone(),
        shared.name.clone(),
        participant,
        Arc::clone(&shared.codec),
    )
}

/// Runs the stateful participants on what was loaded; `None`: nothing took the message.
fn run_all(
    shared: &Shared,
    ready: &Ready<'_>,
    loaded: &Loaded,
    received: &Received,
    kept: &[Outbound],
    work: &mut UnitOfWork,
) -> HandlerResult<Option<Vec<PendingRow>>> {
    let cause = Cause {
        incoming: Some(received),
        now: received.now,
        time_sent: Some(received.now),
    };
    let mut rows = Vec::new();
    let mut absent = ready.takers.handlers.is_empty() && !ready.is_alarm();
    for outbound in kept {
        rows.extend(compose::rows(shared, cause, outbound.clone())?);
    }
    for (participant, places) in ready.takers.stateful.iter().zip(&ready.places) {
        let records: Vec<_> = places
            .iter()
            .map(|place| loaded.records.get(*place).cloned().flatten())
            .collect();
        let outbound = outbound(shared, received, Arc::from(participant.name()));
        let given = Work {
            records: &records,
            timeout: loaded.pending.as_ref(),
            outbound,
        };
        let run = std::panic::catch_unwind(AssertUnwindSafe(|| participant.handle(received, given)));
        let effects = run.map_err(|panic| failing::panicked(panic.as_ref()))??;
        match effects.taken {
            Taken::Handled => absent = false,
            Taken::Ignored(why) => {
                absent = false;
                shared.counters.ignored.one();
                tracing::debug!(id = %received.envelope.id, participant = participant.name(), why, "ignored a message");
            }
            Taken::Absent => {}
        }
        work.records.extend(effects.records);
        for change in &effects.pending {
            if let PendingChange::Move { attention, .. } = change {
                shared.relay.look_at(*attention);
            }
        }
        work.pending.extend(effects.pending);
        rows.extend(compose::rows(shared, cause, effects.outbound)?);
    }
    Ok((!absent).then_some(rows))
}

/// Handlers only, declared idempotent: no inbox, and the acknowledgement waits for the broker to have every output.
async fn storeless(shared: &Arc<Shared>, ready: &Ready<'_>) -> Ending {
    if ready.alone {
        // There is nowhere to mark that it was begun, so the broker's count alone decides.
        let text = "handle the message: the broker delivered it too often; it may end the process each time";
        let error = HandlerError::permanent(text).with_reason(Reason::KilledProcess);
        return failing::give_up(shared, ready, &Known::default(), &error).await;
    }
    let sent = ready.envelope().time_sent();
    let mut immediate = 0;
    let tried = u32::try_from(ready.envelope().number(headers::ATTEMPTS).unwrap_or(0)).unwrap_or(u32::MAX);
    let known = Known {
        attempts: tried,
        since: sent,
        ..Known::default()
    };
    loop {
        let received = Arc::new(Received {
            attempt: tried.saturating_add(immediate).saturating_add(1),
            now: shared.clock.now(),
            ..ready.received.clone()
        });
        let error = match storeless_attempt(shared, ready, &received).await {
            Ok(()) => {
                shared.counters.handled.one();
                return Ending::Settled;
            }
            Err(error) => error,
        };
        immediate += 1;
        match failing::decide(shared, ready, &known, immediate, &error) {
            Decision::RetryNow => {}
            Decision::RetryAfter(delay) => {
                return failing::retry_later_storeless(shared, ready, tried.saturating_add(immediate), delay)
                    .await;
            }
            Decision::ErrorQueue => {
                let known = Known {
                    attempts: tried.saturating_add(immediate),
                    ..known
                };
                return failing::give_up(shared, ready, &known, &error).await;
            }
        }
    }
}

async fn storeless_attempt(
    shared: &Arc<Shared>,
    ready: &Ready<'_>,
    received: &Arc<Received>,
) -> HandlerResult {
    pass!(shared, Before RunHandlers);
    let outbounds = run_handlers(shared, ready, received).await?;
    pass!(shared, After RunHandlers);
    let cause = Cause {
        incoming: Some(received),
        now: received.now,
        time_sent: received.envelope.time_sent(),
    };
    let mut batch = Vec::new();
    for outbound in outbounds {
        batch.extend(compose::dispatches(shared, cause, outbound)?);
    }
    pass!(shared, Before SendOutputs);
    let results = send_and_wait(shared, batch).await;
    pass!(shared, After SendOutputs);
    for result in results {
        result.map_err(HandlerError::transient)?;
    }
    Ok(())
}
