//! One attempt to handle a message: run what takes it, commit what comes of it, send that.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tracing::Instrument;

use crate::clock::{Timestamp, within};
use crate::endpoint::arrival::Ready;
use crate::endpoint::compose::{self, Cause};
use crate::endpoint::dispatcher::send_rows_and_wait;
use crate::endpoint::failing::{self, guarded};
use crate::endpoint::gates::Admitted;
use crate::endpoint::known::Known;
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::process::Progress;
use crate::endpoint::quarantine::Quarantine;
use crate::endpoint::shared::Shared;
use crate::handler::{HandlerError, HandlerResult, Received};
use crate::outbound::Outbound;
use crate::pipeline::Handled;
use crate::reason::Reason;
use crate::stateful::{Became, Taken, Work};
use crate::store::{
    InboxChange, InboxState, Loaded, PendingChange, PendingRow, Store, StoreError, StoreErrorKind, UnitOfWork,
};
use crate::transport::{TransportError, TransportErrorKind};

/// What became of one attempt.
pub(crate) enum Attempt {
    Committed,
    Failed(HandlerError),
    /// The store can't be asked for now.
    Stuck(StoreError),
    /// Somebody else changed what was read: look again.
    Again,
    /// Nothing takes the message yet.
    Absent,
}

/// A message with what is stored of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) loaded: &'a Loaded,
    pub(crate) known: &'a Known,
    pub(crate) quarantine: &'a Quarantine,
}

/// Tries once to handle the message; what its handlers have returned already is not run again.
pub(crate) async fn attempt(
    shared: &Arc<Shared>,
    store: &dyn Store,
    ready: &Ready<'_>,
    case: Case<'_>,
    progress: &mut Progress,
    admitted: &mut Admitted<'_>,
) -> Attempt {
    let Case { loaded, known, .. } = case;
    let received = Arc::new(Received {
        attempt: known.and_failed(progress.failed).attempts.saturating_add(1),
        last_chance: known.put_off >= shared.settings.not_yet_rounds,
        now: shared.clock.now(),
        ..ready.received.clone()
    });
    let kept = &mut progress.kept;
    // A conflict runs what is pure again, but never what an async handler has already done.
    if kept.len() < ready.takers.handlers.len() {
        match run_handlers(shared, ready, &received, admitted).await {
            Ok(outbounds) => *kept = outbounds,
            Err(error) => return Attempt::Failed(error),
        }
    }
    let mut work = UnitOfWork::default();
    pass!(shared, Before RunStateful);
    let ran = run_all(shared, ready, loaded, &received, kept, &mut work);
    pass!(shared, After RunStateful);
    let mut ran = match ran {
        Ok(Some(ran)) => ran,
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
    // What waits behind it in order is sent on its way in the same commit.
    match case.quarantine.leave(shared, store, &ready.original()).await {
        Ok(advance) => {
            ran.rows.extend(advance.rows);
            work.records.extend(advance.records);
        }
        Err(error) => return Attempt::Stuck(error),
    }
    commit_and_send(shared, store, ready, &received, work, ran).await
}

/// What came of running what takes a message, beside what it wants committed.
#[derive(Debug, Default)]
struct Ran {
    rows: Vec<PendingRow>,
    became: Vec<Became>,
}

/// Commits what came of an attempt, with what is to be sent, and sends that.
async fn commit_and_send(
    shared: &Shared,
    store: &dyn Store,
    ready: &Ready<'_>,
    received: &Received,
    mut work: UnitOfWork,
    Ran { mut rows, became }: Ran,
) -> Attempt {
    let entries = compose::entries(shared, received.now, &mut rows);
    let durable = shared.is_durable();
    let waits = if durable {
        Vec::new()
    } else {
        within_reach(shared, received.now, &rows)
    };
    // Before the commit: cut short in the middle of it, nobody is left to say so.
    shared.unsent.add(ready.id(), waits.iter().map(|row| &row.id));
    work.pending
        .extend(rows.into_iter().map(|row| PendingChange::Add(Box::new(row))));
    pass!(shared, Before Commit);
    let committed = if mutated!(InboxApart) {
        commit_apart(shared, store, work).await
    } else {
        shared.commit(store, work).await
    };
    pass!(shared, After Commit);
    if let Err(error) = committed {
        return not_committed(shared, ready, error);
    }
    note_handled(shared, received, &became);
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

/// Counts a message that was handled, and how long that took.
pub(crate) fn note_handled(shared: &Shared, received: &Received, became: &[Became]) {
    let now = shared.clock.now();
    let due = received.envelope.due().ok().flatten();
    let since = due.max(received.envelope.time_sent());
    let handled = Handled {
        endpoint: shared.name.as_str(),
        type_name: &received.type_name,
        handling: now.since(received.now),
        critical: since.map(|since| now.since(since)),
        became,
    };
    shared.counters.handled.one();
    shared.statuses.add(became);
    shared.times.handling.add(handled.handling);
    if let Some(critical) = handled.critical {
        shared.times.critical.add(critical);
    }
    for step in &shared.steps {
        // It is committed: what only watches can't change that.
        let told = guarded("the step", || {
            step.handled(handled);
            Ok(())
        });
        if let Err(error) = told {
            tracing::warn!(step = step.name(), %error, "a step failed after a message was handled");
        }
    }
}

fn not_committed(shared: &Shared, ready: &Ready<'_>, error: StoreError) -> Attempt {
    match error.kind() {
        // After an unknown outcome the inbox is the witness.
        StoreErrorKind::Conflict | StoreErrorKind::Unknown => Attempt::Again,
        StoreErrorKind::Refused => {
            shared.unsent.forget(ready.id());
            Attempt::Failed(HandlerError::permanent(&error).with_reason(Reason::Unsendable))
        }
        _ => Attempt::Stuck(error),
    }
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

/// What the broker can have by now: rows due beyond its longest delay are in the store only, and a store that does not last
/// loses them with the process.
fn within_reach(shared: &Shared, now: Timestamp, rows: &[PendingRow]) -> Vec<PendingRow> {
    let longest = shared.longest_delay();
    let fits = |row: &&PendingRow| row.due.is_none_or(|due| due.since(now) <= longest);
    rows.iter().filter(fits).cloned().collect()
}

/// With a store that is not durable: sends committed rows and waits until the broker has them all.
async fn send_all(shared: &Shared, mut left: Vec<PendingRow>) {
    while !left.is_empty() {
        let mut results = send_rows_and_wait(shared, &left).await.into_iter();
        left.retain(|_| {
            results
                .next()
                .is_none_or(|result| result.is_err_and(|error| may_still_go(&error)))
        });
        if !left.is_empty() {
            shared.clock.sleep(shared.waits.again).await;
        }
    }
}

/// Whether the row of a refused message stays to be sent; the others are set aside for people.
pub(crate) fn may_still_go(error: &TransportError) -> bool {
    // Rights and credentials are mended by people, not by the message.
    error.is_retryable()
        || matches!(
            error.kind(),
            TransportErrorKind::Closed | TransportErrorKind::Denied
        )
}

/// Runs the handlers, one after the other.
pub(crate) async fn run_handlers(
    shared: &Shared,
    ready: &Ready<'_>,
    received: &Arc<Received>,
    admitted: &mut Admitted<'_>,
) -> HandlerResult<Vec<Outbound>> {
    pass!(shared, Before RunHandlers);
    let ran = run_each(shared, ready, received, admitted);
    let ran = ran.instrument(tracing::debug_span!("handle")).await;
    pass!(shared, After RunHandlers);
    ran
}

async fn run_each(
    shared: &Shared,
    ready: &Ready<'_>,
    received: &Arc<Received>,
    admitted: &mut Admitted<'_>,
) -> HandlerResult<Vec<Outbound>> {
    let mut outbounds = Vec::with_capacity(ready.takers.handlers.len());
    for registered in &ready.takers.handlers {
        let outbound = outbound(shared, received, Arc::clone(&registered.name));
        let run = AssertUnwindSafe(registered.handler.handle(Arc::clone(received), outbound)).catch_unwind();
        let limit = shared.settings.handler_limit;
        let result = match within(&*shared.clock, limit, run).await {
            Some(Ok(result)) => result,
            Some(Err(panic)) => Err(failing::panicked("the handler", panic.as_ref())),
            None => Err(HandlerError::transient(format!(
                "handle the message within {limit:?}, the limit of a handler"
            ))),
        };
        if let Some(destination) = &registered.destination {
            let outcome = failing::called(shared, &result, received.attempt == 1);
            admitted.called(destination, outcome);
        }
        outbounds.push(result?);
    }
    Ok(outbounds)
}

pub(crate) fn outbound(shared: &Shared, received: &Received, participant: Arc<str>) -> Outbound {
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
) -> HandlerResult<Option<Ran>> {
    let _span = tracing::debug_span!("handle").entered();
    let cause = Cause {
        incoming: Some(received),
        now: received.now,
        time_sent: Some(received.now),
    };
    let mut ran = Ran::default();
    let mut absent = ready.takers.handlers.is_empty() && !ready.is_alarm();
    for outbound in kept {
        ran.rows.extend(composed(shared, cause, outbound.clone())?);
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
        let effects = guarded("the handler", || participant.handle(received, given))?;
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
        work.pending.extend(effects.pending);
        ran.became.extend(effects.became);
        ran.rows.extend(composed(shared, cause, effects.outbound)?);
    }
    Ok((!absent).then_some(ran))
}

/// Steps of the application run on what is sent, too.
fn composed(shared: &Shared, cause: Cause<'_>, outbound: Outbound) -> HandlerResult<Vec<PendingRow>> {
    guarded("what writes its messages", || {
        compose::rows(shared, cause, outbound)
    })
}
