//! What is written at the end of handling a message.

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::handler::{HandlerError, HandlerResult, Received};
use longhaul_core::stateful::{Effects, Taken};
use longhaul_core::store::{Record, RecordChange};

use crate::compensation::Progress;
use crate::context::SagaContext;
use crate::definition::Definition;
use crate::ledger::Ledger;
use crate::saga::Saga;
use crate::status::Status;
use crate::stored::{Stored, StoredEnd, StoredLife};

/// What is in the store now.
pub(crate) struct Existing {
    started: Timestamp,
    version: Option<u64>,
    body: Option<Bytes>,
}

impl Existing {
    /// Nothing, or a tombstone.
    pub(crate) fn none(now: Timestamp, record: Option<&Record>) -> Self {
        Self {
            started: now,
            version: record.map(|record| record.version),
            body: None,
        }
    }

    /// An instance that is not finished.
    pub(crate) fn some(started: Timestamp, record: Option<&Record>) -> Self {
        Self {
            started,
            version: record.map(|record| record.version),
            body: record.map(|record| record.body.clone()),
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
    let (stored, expires) = match end {
        Some(status) => {
            ctx.ledger.cancel_timeouts(&mut ctx.turn, |_| true);
            let end = tombstone(status, &mut ctx.ledger, received.now);
            let expires = received.now + received.retention;
            (
                Stored::tombstone(status, incarnation, existing.started, end),
                Some(expires),
            )
        }
        None => {
            let life = life(&state, &mut ctx)?;
            (
                Stored::alive(ctx.ledger.status, incarnation, existing.started, life),
                None,
            )
        }
    };
    let body = stored.to_body()?;
    let changed = existing.body.as_ref() != Some(&body);
    let put = RecordChange::Put {
        key,
        expected: existing.version,
        body,
        expires,
    };
    let (outbound, pending) = ctx.turn.finish();
    Ok(Effects {
        outbound,
        records: if changed { vec![put] } else { Vec::new() },
        pending,
        taken: Taken::Handled,
    })
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
