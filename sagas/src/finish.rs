//! What is written at the end of handling a message.

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::handler::{HandlerError, HandlerResult, Received};
use longhaul_core::stateful::{Became, Effects, Taken};
use longhaul_core::store::{Record, RecordChange};

use crate::compensation::Progress;
use crate::context::SagaContext;
use crate::definition::Definition;
use crate::history::{StoredEvent, StoredHistory};
use crate::ledger::Ledger;
use crate::saga::Saga;
use crate::status::Status;
use crate::stored::{Stored, StoredEnd, StoredLife};

/// What is in the store now.
pub(crate) struct Existing {
    /// Where it stands; `None`: there is none yet, or no more.
    status: Option<Status>,
    started: Timestamp,
    version: Option<u64>,
    body: Option<Bytes>,
    history: StoredHistory,
    /// The name of the timeout whose alarm is handled.
    timeout: Option<String>,
    /// What an operator has done, where the message is that.
    operated: Option<String>,
}

impl Existing {
    /// Nothing, or a tombstone.
    pub(crate) fn none(now: Timestamp, record: Option<&Record>) -> Self {
        Self {
            status: None,
            started: now,
            version: record.map(|record| record.version),
            body: None,
            history: StoredHistory::default(),
            timeout: None,
            operated: None,
        }
    }

    /// An instance that is not finished.
    pub(crate) fn some(stored: &Stored, record: Option<&Record>) -> Self {
        Self {
            status: Some(stored.status),
            started: stored.started,
            version: record.map(|record| record.version),
            body: record.map(|record| record.body.clone()),
            history: stored.history.clone(),
            timeout: None,
            operated: None,
        }
    }

    /// The message is the alarm of a timeout of that name.
    pub(crate) fn of_timeout(self, name: Option<String>) -> Self {
        Self {
            timeout: name,
            ..self
        }
    }

    /// The message is what an operator wants, who did this.
    pub(crate) fn operated(self, what: String) -> Self {
        Self {
            operated: Some(what),
            ..self
        }
    }
}

/// Decides what becomes of the instance, and says what is written and sent.
pub(crate) fn conclude<S: Saga>(
    definition: &Definition<S>,
    mut state: S,
    mut ctx: SagaContext<S>,
    existing: &Existing,
    received: &Received,
) -> HandlerResult<Effects> {
    let end = end(definition, &mut state, &mut ctx)?;
    let key = ctx.identity.record_key();
    let incarnation = ctx.identity.incarnation.clone();
    let status = end.unwrap_or(ctx.ledger.status);
    if end.is_some() {
        ctx.ledger.cancel_timeouts(&mut ctx.turn, |_| true);
    }
    let event = StoredEvent::handled(received, existing.timeout.as_deref(), status, &ctx.turn);
    let event = match &existing.operated {
        Some(what) => event.by_operator(what.clone()),
        None => event,
    };
    let (mut stored, expires) = match end {
        Some(status) => {
            let end = tombstone(status, &mut ctx.ledger, received.now);
            let expires = received.now + received.retention;
            let history = existing.history.clone();
            (
                Stored::tombstone(status, incarnation, existing.started, end, history),
                Some(expires),
            )
        }
        None => {
            let life = life(&state, &mut ctx)?;
            let history = existing.history.clone();
            (
                Stored::alive(status, incarnation, existing.started, life, history),
                None,
            )
        }
    };
    // A question that was answered changes nothing, not even the history.
    let is_quiet = end.is_none() && ctx.turn.is_quiet() && existing.body.as_ref() == Some(&stored.to_body()?);
    stored.history.add(event, definition.history);
    let body = stored.to_body()?;
    let put = RecordChange::Put {
        key,
        expected: existing.version,
        body,
        expires,
    };
    let (outbound, pending) = ctx.turn.finish();
    Ok(Effects {
        outbound,
        records: if is_quiet { Vec::new() } else { vec![put] },
        pending,
        taken: Taken::Handled,
        became: became::<S>(existing.status, status),
    })
}

/// What an instance came to that stands there now, and was there before.
fn became<S: Saga>(before: Option<Status>, now: Status) -> Vec<Became> {
    let begun = before.is_none().then_some(Status::Active);
    let before = before.or(begun);
    let changed = (before != Some(now)).then_some(now);
    begun.into_iter().chain(changed).map(Status::of::<S>).collect()
}

/// How the instance ends, if it does.
fn end<S: Saga>(
    definition: &Definition<S>,
    state: &mut S,
    ctx: &mut SagaContext<S>,
) -> HandlerResult<Option<Status>> {
    if !ctx.ledger.is_compensating() {
        return Ok((ctx.ledger.completing && ctx.ledger.all_answered()).then_some(Status::Completed));
    }
    if ctx.ledger.advance(&mut ctx.turn, &definition.policy) == Progress::Open {
        return Ok(None);
    }
    ctx.finished = true;
    if let Some(compensated) = definition.compensated {
        compensated(state, ctx)?;
    }
    Ok(Some(Status::Compensated))
}

fn tombstone(status: Status, ledger: &mut Ledger, at: Timestamp) -> StoredEnd {
    let left = if status == Status::Compensated {
        ledger.left()
    } else {
        Vec::new()
    };
    let reason = ledger.compensation.take().map(|compensation| compensation.reason);
    StoredEnd {
        at,
        reason,
        given_up: None,
        left,
    }
}

fn life<S: Saga>(state: &S, ctx: &mut SagaContext<S>) -> HandlerResult<StoredLife> {
    let state = serde_json::value::to_raw_value(state).map_err(|fault| {
        HandlerError::permanent(format!(
            "write the state of {} {:?}: {fault}",
            S::NAME,
            ctx.identity.key
        ))
    })?;
    let ledger = &mut ctx.ledger;
    Ok(StoredLife {
        state_version: S::VERSION,
        state,
        origin: std::mem::take(&mut ctx.origin),
        completing: ledger.completing,
        compensation: ledger.compensation.take(),
        steps: std::mem::take(&mut ledger.steps),
        timeouts: std::mem::take(&mut ledger.timeouts),
    })
}
