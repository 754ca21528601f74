//! What happens to a message that failed: again, later, or set aside with the reason.

use std::any::Any;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::endpoint::arrival::{Ready, Rejected};
use crate::endpoint::dispatcher::{Entry, send_and_wait};
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::process::Ending;
use crate::endpoint::shared::Shared;
use crate::envelope::Envelope;
use crate::handler::{ErrorClass, HandlerError};
use crate::headers;
use crate::ids::derived_message_id;
use crate::reason::Reason;
use crate::recoverability::{Decision, Failure};
use crate::store::{
    InboxChange, InboxState, Loaded, PendingChange, PendingKind, PendingRow, Store, UnitOfWork,
};
use crate::transport::{Destination, Dispatch};

/// What is known of a message's earlier attempts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    /// What the inbox says, which the next change expects.
    pub(crate) state: Option<InboxState>,
    /// The copy that counts: as many delayed rounds are behind it.
    pub(crate) generation: u32,
    /// Attempts that failed.
    pub(crate) attempts: u32,
    /// When it failed first.
    pub(crate) since: Option<Timestamp>,
}

impl Known {
    pub(crate) fn from_state(state: Option<InboxState>) -> Self {
        match state {
            Some(
                InboxState::Scheduled {
                    generation,
                    attempts,
                    since,
                }
                | InboxState::Started {
                    generation,
                    attempts,
                    since,
                },
            ) => Self {
                state,
                generation,
                attempts,
                since: Some(since),
            },
            // A replay begins anew.
            Some(InboxState::Failed { .. } | InboxState::Done) | None => Self {
                state,
                ..Self::default()
            },
        }
    }
}

/// The error that a panic stands for.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> HandlerError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("it did not say why");
    HandlerError::unexpected(format!("handle the message: the handler panicked: {text}"))
        .with_reason(Reason::HandlerPanicked)
}

/// A message older than the inbox remembers may have been handled already.
pub(crate) fn too_old(shared: &Shared, ready: &Ready<'_>, loaded: &Loaded) -> Option<HandlerError> {
    if loaded.inbox.is_some() || ready.takers.all_idempotent() || ready.is_alarm() {
        return None;
    }
    if ready.is_replayed() {
        // A person has decided.
        return None;
    }
    let due = ready.envelope().due().ok().flatten();
    let since = due.max(ready.envelope().time_sent())?;
    let age = shared.clock.now().since(since);
    (age > shared.settings.retention).then(|| {
        let text = format!(
            "handle the message: it is {} hours old, and ids are remembered for {} only, so that it may have been handled \
             before; replay it if it was not, or declare its handler idempotent",
            age.as_secs() / 3600,
            shared.settings.retention.as_secs() / 3600
        );
        HandlerError::permanent(text).with_reason(Reason::TooOld)
    })
}

/// Notes a failed attempt and decides what comes next.
pub(crate) fn decide(
    shared: &Shared,
    ready: &Ready<'_>,
    known: &Known,
    immediate: u32,
    error: &HandlerError,
) -> Decision {
    shared.counters.failures.one();
    let age = known
        .since
        .map_or(Duration::ZERO, |since| shared.clock.now().since(since));
    // Without a store there is no generation: the attempts stand for the rounds.
    let per_round = shared.settings.retries.immediate.saturating_add(1);
    let delayed = if shared.store.is_some() {
        known.generation
    } else {
        known.attempts / per_round
    };
    let failure = Failure {
        class: error.class(),
        immediate,
        delayed,
        age,
    };
    let decision = shared
        .settings
        .retries
        .decide(&failure, shared.randomness.next_u64());
    let id = ready.id();
    let message = ready.received.type_name.as_str();
    match error.class() {
        ErrorClass::Expected => {
            tracing::debug!(%id, message, %error, ?decision, "an attempt failed, as it may")
        }
        ErrorClass::Transient | ErrorClass::Unexpected | ErrorClass::Permanent | ErrorClass::Unreadable => {
            tracing::warn!(%id, message, %error, ?decision, "an attempt failed");
        }
    }
    decision
}

/// Schedules another attempt in one commit with the attempts made.
pub(crate) async fn retry_later(
    shared: &Shared,
    store: &dyn Store,
    ready: &Ready<'_>,
    known: &Known,
    made: u32,
    delay: Duration,
    error: &HandlerError,
) -> Ending {
    shared.counters.delayed_retries.one();
    tracing::debug!(id = %ready.id(), ?delay, %error, "retrying later");
    schedule(shared, store, ready, known, made, delay).await
}

/// Puts a message off that nothing takes yet; at last it goes to the error queue.
pub(crate) async fn put_off(shared: &Shared, store: &dyn Store, ready: &Ready<'_>, known: &Known) -> Ending {
    if known.generation >= shared.settings.not_yet_rounds {
        let text = format!(
            "handle the message: there is nothing that {} is for, and nothing came in time",
            ready.received.type_name
        );
        let error = HandlerError::permanent(text).with_reason(Reason::NotFound);
        return give_up(shared, ready, known, &error).await;
    }
    shared.counters.put_off.one();
    let delay = shared
        .waits
        .again
        .saturating_mul(1u32.checked_shl(known.generation).unwrap_or(u32::MAX))
        .min(shared.waits.again.saturating_mul(3600));
    schedule(shared, store, ready, known, 0, delay).await
}

async fn schedule(
    shared: &Shared,
    store: &dyn Store,
    ready: &Ready<'_>,
    known: &Known,
    made: u32,
    delay: Duration,
) -> Ending {
    let now = shared.clock.now();
    let generation = known.generation.saturating_add(1);
    let next = if mutated!(AttemptsForgotten) {
        InboxState::Scheduled {
            generation: 0,
            attempts: 0,
            since: now,
        }
    } else {
        InboxState::Scheduled {
            generation,
            attempts: known.attempts.saturating_add(made),
            since: known.since.unwrap_or(now),
        }
    };
    let row = copy(shared, ready.envelope(), now, delay, generation);
    let entry = Entry::of_row(&row);
    shared.relay.look_at(row.attention);
    let mut work = UnitOfWork::default();
    work.inbox.push(InboxChange {
        id: ready.id().clone(),
        expected: known.state,
        next: Some(next),
        at: now,
    });
    work.pending.push(PendingChange::Add(Box::new(row)));
    pass!(shared, Before ScheduleRetry);
    let committed = shared.commit(store, work).await;
    pass!(shared, After ScheduleRetry);
    match committed {
        Ok(()) => {
            shared.queue.push([entry]);
            Ending::Settled
        }
        Err(error) => {
            tracing::warn!(id = %ready.id(), %error, "could not schedule a retry; the message is given back");
            Ending::GiveBack
        }
    }
}

/// The same message again, later, as the given generation.
fn copy(
    shared: &Shared,
    envelope: &Envelope,
    now: Timestamp,
    delay: Duration,
    generation: u32,
) -> PendingRow {
    let mut envelope = envelope.clone();
    envelope.headers.set(headers::GENERATION, generation.to_string());
    envelope.headers.remove(headers::REPLAY);
    envelope.native = None;
    let due = now + delay;
    PendingRow {
        id: derived_message_id(&["retry", envelope.id.as_str()], u64::from(generation)),
        kind: PendingKind::Message,
        owner: None,
        name: String::from("retry"),
        envelope,
        to: Destination::Queue(shared.name.clone()),
        due: Some(due),
        attention: now + shared.waits.young,
        token: 0,
        alarm_sent: false,
        parked: None,
    }
}

/// Sends a copy for another attempt, where there is no store to keep the attempts in.
pub(crate) async fn retry_later_storeless(
    shared: &Shared,
    ready: &Ready<'_>,
    made: u32,
    delay: Duration,
) -> Ending {
    shared.counters.delayed_retries.one();
    let mut envelope = ready.envelope().clone();
    envelope.native = None;
    envelope.headers.set(headers::ATTEMPTS, made.to_string());
    let delay = delay.min(shared.longest_delay());
    let due = Some(shared.clock.now() + delay);
    let retry = Dispatch {
        envelope,
        to: Destination::Queue(shared.name.clone()),
        due,
    };
    pass!(shared, Before SendRetry);
    let ending = confirmed(shared, retry).await;
    pass!(shared, After SendRetry);
    ending
}

async fn confirmed(shared: &Shared, dispatch: Dispatch) -> Ending {
    let to = super::dispatcher::describe(&dispatch.to);
    match send_and_wait(shared, vec![dispatch]).await.pop() {
        Some(Ok(_)) => Ending::Settled,
        Some(Err(error)) => {
            tracing::error!(%to, %error, "could not pass a message on; it stays where it is");
            Ending::GiveBack
        }
        None => Ending::GiveBack,
    }
}

/// Moves a message that can't be read to the error queue, as it came.
pub(crate) async fn reject(shared: &Shared, rejected: &Rejected) -> Ending {
    shared.counters.failures.one();
    tracing::error!(id = %rejected.envelope.id, error = %rejected.error, "a message can't be handled");
    let known = Known {
        attempts: 1,
        ..Known::default()
    };
    let Some(store) = shared.store.as_deref().filter(|_| rejected.has_id) else {
        return to_error_queue(shared, &rejected.envelope, &known, &rejected.error).await;
    };
    // A copy of something handled long ago, damaged on the way, is a duplicate and nothing else.
    let request = crate::store::LoadRequest {
        inbox: rejected.envelope.id.clone(),
        records: Vec::new(),
        pending: None,
        now: shared.clock.now(),
    };
    pass!(shared, Before LookUpRejected);
    let loaded = shared.load(store, &request).await;
    pass!(shared, After LookUpRejected);
    match loaded {
        Ok(loaded) if loaded.inbox == Some(InboxState::Done) => {
            shared.counters.duplicates.one();
            Ending::Settled
        }
        Ok(_) => to_error_queue(shared, &rejected.envelope, &known, &rejected.error).await,
        Err(error) => {
            tracing::warn!(%error, "could not use the store; the message is given back");
            Ending::GiveBack
        }
    }
}

/// Moves a message to the error queue, confirmed; then notes it, so that a redelivered original is a duplicate.
pub(crate) async fn give_up(
    shared: &Shared,
    ready: &Ready<'_>,
    known: &Known,
    error: &HandlerError,
) -> Ending {
    match error.class() {
        ErrorClass::Expected => {
            tracing::info!(id = %ready.id(), message = %ready.received.type_name, %error, "moved to the error queue");
        }
        ErrorClass::Transient | ErrorClass::Unexpected | ErrorClass::Permanent | ErrorClass::Unreadable => {
            tracing::error!(id = %ready.id(), message = %ready.received.type_name, %error, "moved to the error queue");
        }
    }
    let known = Known {
        attempts: known.attempts.max(1),
        ..*known
    };
    if to_error_queue(shared, ready.envelope(), &known, error).await == Ending::GiveBack {
        return Ending::GiveBack;
    }
    let Some(store) = shared.store.as_deref() else {
        return Ending::Settled;
    };
    let mut work = UnitOfWork::default();
    work.inbox.push(InboxChange {
        id: ready.id().clone(),
        expected: known.state,
        next: Some(InboxState::Failed {
            attempts: known.attempts,
        }),
        at: shared.clock.now(),
    });
    if let Some(id) = ready.row() {
        // The row waits for the replay, and the relay leaves it alone.
        work.pending.push(PendingChange::Park {
            id,
            reason: error.to_string(),
        });
    }
    pass!(shared, Before NoteFailed);
    let noted = shared.commit(store, work).await;
    pass!(shared, After NoteFailed);
    match noted {
        Ok(()) => Ending::Settled,
        Err(error) => {
            tracing::warn!(id = %ready.id(), %error, "could not note that a message is in the error queue; it is given back");
            Ending::GiveBack
        }
    }
}

async fn to_error_queue(shared: &Shared, envelope: &Envelope, known: &Known, error: &HandlerError) -> Ending {
    let now = shared.clock.now();
    let mut envelope = envelope.clone();
    let headers = &mut envelope.headers;
    headers.remove(headers::GENERATION);
    headers.remove(headers::ATTEMPTS);
    headers.remove(headers::REPLAY);
    headers.set(headers::ERROR_REASON, error.reason().as_str());
    headers.set(headers::ERROR_CLASS, error.class().as_str());
    headers.set(headers::ERROR_TEXT, clip(&error.to_string()));
    if !error.chain().is_empty() {
        headers.set(headers::ERROR_CHAIN, clip(&error.chain().join("\n")));
    }
    headers.set(headers::ERROR_ENDPOINT, shared.name.as_str());
    headers.set(headers::ERROR_SOURCE, shared.name.as_str());
    headers.set(headers::ERROR_ATTEMPTS, known.attempts.to_string());
    headers.set(headers::ERROR_FIRST, known.since.unwrap_or(now).to_string());
    headers.set(headers::ERROR_LAST, now.to_string());
    headers.set(headers::ERROR_HOST, shared.host.as_str());
    let failed = Dispatch {
        envelope,
        to: Destination::Queue(shared.error_queue.clone()),
        due: None,
    };
    if mutated!(ErrorAckFirst) {
        shared.queue.push([Entry::unwatched(failed)]);
        return Ending::Settled;
    }
    pass!(shared, Before MoveToErrors);
    let ending = confirmed(shared, failed).await;
    pass!(shared, After MoveToErrors);
    if ending == Ending::Settled {
        shared.counters.moved_to_errors.one();
    }
    ending
}

/// At most 4 KiB, cut between characters.
fn clip(text: &str) -> String {
    const MOST: usize = 4096;
    if text.len() <= MOST {
        return text.to_owned();
    }
    let end = (0..=MOST)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    text[..end].to_owned()
}
