//! What happens to a message that failed: again, later, or set aside with the reason.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::endpoint::arrival::{Original, Ready};
use crate::endpoint::compose;
use crate::endpoint::dispatcher::send_and_wait;
use crate::endpoint::error_queue;
use crate::endpoint::known::Known;
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::process::Ending;
use crate::endpoint::shared::Shared;
use crate::envelope::Envelope;
use crate::handler::{ErrorClass, HandlerError, HandlerResult};
use crate::headers;
use crate::ids::derived_message_id;
use crate::reason::Reason;
use crate::recoverability::{Decision, Failure};
use crate::store::{
    InboxChange, InboxState, Loaded, PendingChange, PendingKind, PendingRow, Store, UnitOfWork,
};
use crate::transport::{Destination, Dispatch};

/// The error that a panic of `what` stands for.
pub(crate) fn panicked(what: &str, panic: &(dyn Any + Send)) -> HandlerError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("it did not say why");
    HandlerError::unexpected(format!("handle the message: {what} panicked: {text}"))
        .with_reason(Reason::HandlerPanicked)
}

/// Runs code of the application that does not wait; a panic in it is an error like any other.
pub(crate) fn guarded<T>(what: &str, run: impl FnOnce() -> HandlerResult<T>) -> HandlerResult<T> {
    std::panic::catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(panicked(what, panic.as_ref())))
}

/// A message older than the inbox remembers may have been handled already.
pub(crate) fn too_old(shared: &Shared, ready: &Ready<'_>, loaded: &Loaded) -> Option<HandlerError> {
    if loaded.inbox.is_some() || ready.takers.all_idempotent() || ready.is_alarm() {
        return None;
    }
    if ready.original().is_replayed() {
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

/// Does what follows from a failed attempt, the `immediate`th of this round; `None`: try again, now.
pub(crate) async fn fail(
    shared: &Shared,
    original: &Original<'_>,
    known: &Known,
    immediate: u32,
    error: &HandlerError,
) -> Option<Ending> {
    let decision = decide(shared, original, known, immediate, error);
    let known = known.and_failed(immediate);
    Some(match (decision, shared.store.as_deref()) {
        (Decision::RetryNow, _) => return None,
        (Decision::RetryAfter(delay), Some(store)) => {
            shared.counters.delayed_retries.one();
            tracing::debug!(id = %original.id(), ?delay, %error, "retrying later");
            schedule(shared, store, original, &known, delay).await
        }
        (Decision::RetryAfter(delay), None) => retry_later_storeless(shared, original, &known, delay).await,
        (Decision::ErrorQueue, _) => error_queue::give_up(shared, original, &known, error).await,
    })
}

/// Notes a failed attempt and decides what comes next.
fn decide(
    shared: &Shared,
    original: &Original<'_>,
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
        known.generation - known.put_off
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
    let (id, message) = (original.id(), original.type_name);
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

/// Puts a message off that nothing takes yet; at last it goes to the error queue.
pub(crate) async fn put_off(
    shared: &Shared,
    store: &dyn Store,
    original: &Original<'_>,
    known: &Known,
) -> Ending {
    if known.put_off >= shared.settings.not_yet_rounds {
        let text = format!(
            "handle the message: there is nothing that {} is for, and nothing came in time",
            original.type_name
        );
        let error = HandlerError::permanent(text).with_reason(Reason::NotFound);
        return error_queue::give_up(shared, original, known, &error).await;
    }
    shared.counters.put_off.one();
    let delay = shared
        .waits
        .again
        .saturating_mul(1u32.checked_shl(known.put_off).unwrap_or(u32::MAX))
        .min(shared.waits.again.saturating_mul(3600));
    let known = Known {
        put_off: known.put_off.saturating_add(1),
        ..*known
    };
    schedule(shared, store, original, &known, delay).await
}

/// Schedules another attempt in one commit with the attempts made.
async fn schedule(
    shared: &Shared,
    store: &dyn Store,
    original: &Original<'_>,
    known: &Known,
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
            attempts: known.attempts,
            since: known.since.unwrap_or(now),
        }
    };
    let row = copy(shared, original.envelope, now, delay, generation, known.put_off);
    let mut row = [row];
    let entries = compose::entries(shared, now, &mut row);
    let mut work = UnitOfWork::default();
    work.inbox.push(InboxChange {
        id: original.id().clone(),
        expected: known.state,
        next: Some(next),
        at: now,
    });
    work.pending
        .extend(row.map(|row| PendingChange::Add(Box::new(row))));
    pass!(shared, Before ScheduleRetry);
    let committed = shared.commit(store, work).await;
    pass!(shared, After ScheduleRetry);
    match committed {
        Ok(()) => {
            shared.begun.forget(original.id());
            shared.queue.push(entries);
            Ending::Settled
        }
        Err(error) => {
            tracing::warn!(id = %original.id(), %error, "could not schedule a retry; the message is given back");
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
    put_off: u32,
) -> PendingRow {
    let mut envelope = envelope.clone();
    envelope.headers.set(headers::GENERATION, generation.to_string());
    envelope.headers.set(headers::PUT_OFF, put_off.to_string());
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
async fn retry_later_storeless(
    shared: &Shared,
    original: &Original<'_>,
    known: &Known,
    delay: Duration,
) -> Ending {
    shared.counters.delayed_retries.one();
    let mut envelope = original.envelope.clone();
    envelope.native = None;
    let now = shared.clock.now();
    let (attempts, since) = (known.attempts.to_string(), known.since.unwrap_or(now));
    envelope.headers.set(headers::ATTEMPTS, attempts);
    envelope.headers.set(headers::FIRST_FAILURE, since.to_string());
    let due = Some(now + delay.min(shared.longest_delay_storeless()));
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

pub(crate) async fn confirmed(shared: &Shared, dispatch: Dispatch) -> Ending {
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
