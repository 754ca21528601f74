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
use crate::endpoint::quarantine::Quarantine;
use crate::endpoint::shared::Shared;
use crate::envelope::Envelope;
use crate::handler::{ErrorClass, HandlerError, HandlerResult};
use crate::headers;
use crate::ids::derived_message_id;
use crate::reason::Reason;
use crate::recoverability::{Decision, Failure, Outcome};
use crate::store::{
    InboxChange, InboxState, Loaded, PendingChange, PendingKind, PendingRow, Store, StoreError, UnitOfWork,
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
    let since = since(ready.envelope())?;
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

/// What a failure says about what is behind a breaker: nothing, where it is the message's own, or business as usual.
pub(crate) const fn outcome(class: ErrorClass, is_first: bool) -> Outcome {
    match class {
        ErrorClass::Transient | ErrorClass::Unexpected => Outcome::Failed { is_news: is_first },
        ErrorClass::Expected | ErrorClass::Permanent | ErrorClass::Unreadable => Outcome::Unrelated,
    }
}

/// What the call of a destination has come to. That a failure will pass is said of the destination, each time.
pub(crate) fn called<T>(shared: &Shared, result: &HandlerResult<T>, is_first: bool) -> Outcome {
    match result
        .as_ref()
        .map_err(|error| shared.settings.rules.class_of(error))
    {
        Ok(_) => Outcome::Succeeded,
        Err(class) => outcome(class, is_first || class == ErrorClass::Transient),
    }
}

/// Does what follows from a failed attempt, the `immediate`th of this round; `None`: try again, now.
pub(crate) async fn fail(
    shared: &Shared,
    original: &Original<'_>,
    known: &Known,
    immediate: u32,
    error: &HandlerError,
    quarantine: &Quarantine,
) -> Option<Ending> {
    // Without a store there is nothing but what the message says, and that begins with a failure.
    let known = if shared.store.is_some() {
        known.of_failure()
    } else {
        *known
    };
    let decision = decide(shared, original, &known, immediate, error);
    let known = known.and_failed(immediate);
    Some(match (decision, shared.store.as_deref()) {
        (Decision::RetryNow, _) => return None,
        (Decision::RetryAfter(delay), Some(store)) => {
            shared.counters.delayed_retries.one();
            tracing::debug!(id = %original.id(), ?delay, %error, "retrying later");
            schedule(shared, store, original, &known, delay).await
        }
        (Decision::RetryAfter(delay), None) => {
            shared.counters.delayed_retries.one();
            let since = known.since.unwrap_or(shared.clock.now());
            let known = Known {
                since: Some(since),
                ..known
            };
            send_later(shared, original, &known, delay).await
        }
        (Decision::ErrorQueue, _) => error_queue::give_up(shared, original, &known, error, quarantine).await,
        (Decision::Discard, store) => discard(shared, store, original, &known, error, quarantine).await,
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
    let now = shared.clock.now();
    let (id, message) = (original.id(), original.type_name);
    let (rules, policy) = (&shared.settings.rules, &shared.settings.retries);
    let mut failure = Failure {
        immediate,
        age: known.age(now),
        message_age: since(original.envelope).map_or(Duration::ZERO, |since| now.since(since)),
        ..Failure::of(error.class())
    };
    failure.delayed = if shared.store.is_some() {
        known.delayed()
    } else {
        // There is no generation: the attempts stand for the rounds.
        let policy = rules.policy(policy, message, error, &failure);
        known.attempts / policy.immediate.saturating_add(1)
    };
    let decision = rules.decide(policy, message, error, &failure, shared.randomness.next_u64());
    match error.class() {
        ErrorClass::Expected => shared.counters.expected_failures.one(),
        ErrorClass::Unexpected => shared.counters.unexpected_failures.one(),
        ErrorClass::Transient | ErrorClass::Permanent | ErrorClass::Unreadable => {}
    }
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

/// When it was due or sent, whichever is later.
fn since(envelope: &Envelope) -> Option<Timestamp> {
    envelope.due().ok().flatten().max(envelope.time_sent())
}

/// Forgets a failed message, because a rule says so: to the inbox it is done.
async fn discard(
    shared: &Shared,
    store: Option<&dyn Store>,
    original: &Original<'_>,
    known: &Known,
    error: &HandlerError,
    quarantine: &Quarantine,
) -> Ending {
    let (id, message) = (original.id(), original.type_name);
    let now = shared.clock.now();
    let mut work = UnitOfWork {
        inbox: vec![InboxChange {
            id: id.clone(),
            expected: known.state,
            next: Some(InboxState::Done),
            at: now,
        }],
        pending: original
            .row
            .clone()
            .map(PendingChange::Cancel)
            .into_iter()
            .collect(),
        ..UnitOfWork::default()
    };
    pass!(shared, Before NoteFailed);
    let noted = async {
        let Some(store) = store else { return Ok(()) };
        let advance = quarantine.leave(shared, store, original).await?;
        let entries = advance.join(shared, now, &mut work);
        shared.commit(store, work).await?;
        shared.queue.push(entries);
        Ok::<(), StoreError>(())
    };
    let noted = noted.await;
    pass!(shared, After NoteFailed);
    if let Err(error) = noted {
        tracing::warn!(%id, %error, "could not note that a message is discarded; it is given back");
        return Ending::GiveBack;
    }
    shared.begun.forget(id);
    shared.counters.discarded.one();
    tracing::info!(%id, message, attempts = known.attempts, %error, "discarded, as a rule says");
    Ending::Settled
}

/// Puts a message off that nothing takes yet; at last it goes to the error queue.
pub(crate) async fn put_off(
    shared: &Shared,
    store: &dyn Store,
    original: &Original<'_>,
    known: &Known,
    quarantine: &Quarantine,
) -> Ending {
    if known.put_off >= shared.settings.not_yet_rounds {
        let text = format!(
            "handle the message: there is nothing that {} is for, and nothing came in time",
            original.type_name
        );
        let error = HandlerError::permanent(text).with_reason(Reason::NotFound);
        return error_queue::give_up(shared, original, known, &error, quarantine).await;
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
pub(crate) async fn schedule(
    shared: &Shared,
    store: &dyn Store,
    original: &Original<'_>,
    known: &Known,
    delay: Duration,
) -> Ending {
    let now = shared.clock.now();
    let known = Known {
        generation: known.generation.saturating_add(1),
        ..*known
    };
    let next = if mutated!(AttemptsForgotten) {
        InboxState::Scheduled {
            generation: 0,
            attempts: 0,
            since: now,
        }
    } else {
        known.scheduled(now)
    };
    let mut row = [copy(shared, original.envelope, now, delay, &known)];
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

/// The same message again, later, as the generation that is known.
pub(crate) fn copy(
    shared: &Shared,
    envelope: &Envelope,
    now: Timestamp,
    delay: Duration,
    known: &Known,
) -> PendingRow {
    let mut envelope = envelope.clone();
    for (name, count) in [
        (headers::GENERATION, known.generation),
        (headers::PUT_OFF, known.put_off),
        (headers::DEFERRED, known.deferred),
    ] {
        envelope.headers.set(name, count.to_string());
    }
    envelope.headers.remove(headers::REPLAY);
    envelope.native = None;
    let due = now + delay;
    PendingRow {
        id: derived_message_id(&["retry", envelope.id.as_str()], u64::from(known.generation)),
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
pub(crate) async fn send_later(
    shared: &Shared,
    original: &Original<'_>,
    known: &Known,
    delay: Duration,
) -> Ending {
    let mut envelope = original.envelope.clone();
    envelope.native = None;
    envelope
        .headers
        .set(headers::ATTEMPTS, known.attempts.to_string());
    envelope
        .headers
        .set(headers::DEFERRED, known.deferred.to_string());
    if let Some(since) = known.since {
        envelope.headers.set(headers::FIRST_FAILURE, since.to_string());
    }
    let due = Some(shared.clock.now() + delay.min(shared.longest_delay_storeless()));
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
