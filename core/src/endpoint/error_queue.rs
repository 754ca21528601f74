//! Sets a message aside for people: as it came, with the reason.

use crate::endpoint::arrival::Original;
use crate::endpoint::dispatcher::Entry;
use crate::endpoint::failing::confirmed;
use crate::endpoint::known::Known;
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::process::Ending;
use crate::endpoint::quarantine::Quarantine;
use crate::endpoint::shared::Shared;
use crate::handler::{ErrorClass, HandlerError};
use crate::headers;
use crate::store::{InboxChange, InboxState, PendingChange, UnitOfWork};
use crate::transport::{Destination, Dispatch};

/// Moves a message to the error queue, confirmed; then notes it, so that a redelivered original is a duplicate, and so that
/// later ones wait behind it that are kept in order.
pub(crate) async fn give_up(
    shared: &Shared,
    original: &Original<'_>,
    known: &Known,
    error: &HandlerError,
    quarantine: &Quarantine,
) -> Ending {
    let known = Known {
        attempts: known.attempts.max(1),
        ..*known
    };
    if to_error_queue(shared, original, &known, error, quarantine).await == Ending::GiveBack {
        return Ending::GiveBack;
    }
    let Some(store) = shared.store.as_deref() else {
        return Ending::Settled;
    };
    let mut work = UnitOfWork::default();
    if !mutated!(OrderForgotten) {
        work.records = quarantine.enter(original, None);
    }
    work.inbox.push(InboxChange {
        id: original.id().clone(),
        expected: known.state,
        next: Some(InboxState::Failed {
            attempts: known.attempts,
        }),
        at: shared.clock.now(),
    });
    if let Some(id) = original.row.clone() {
        // The row waits for the replay, and the relay leaves it alone.
        work.pending.push(PendingChange::Park {
            id,
            token: original.token(),
            reason: error.to_string(),
        });
    }
    pass!(shared, Before NoteFailed);
    let noted = shared.commit(store, work).await;
    pass!(shared, After NoteFailed);
    match noted {
        Ok(()) => {
            shared.begun.forget(original.id());
            Ending::Settled
        }
        Err(error) => {
            tracing::warn!(id = %original.id(), %error, "could not note that a message is in the error queue; it is given back");
            Ending::GiveBack
        }
    }
}

/// Moves a message to the error queue, confirmed.
pub(crate) async fn to_error_queue(
    shared: &Shared,
    original: &Original<'_>,
    known: &Known,
    error: &HandlerError,
    quarantine: &Quarantine,
) -> Ending {
    let now = shared.clock.now();
    let (id, message) = (original.id(), original.type_name);
    match error.class() {
        ErrorClass::Expected => tracing::info!(%id, message, %error, "moves to the error queue"),
        ErrorClass::Transient | ErrorClass::Unexpected | ErrorClass::Permanent | ErrorClass::Unreadable => {
            match shared.alarms.raise(message, error, now) {
                Some(more) => tracing::error!(%id, message, %error, more, "moves to the error queue"),
                None => tracing::info!(%id, message, %error, "moves to the error queue, as others before"),
            }
        }
    }
    let mut envelope = original.envelope.clone();
    let headers = &mut envelope.headers;
    for ours in [
        headers::GENERATION,
        headers::PUT_OFF,
        headers::DEFERRED,
        headers::ATTEMPTS,
        headers::FIRST_FAILURE,
        headers::REPLAY,
    ] {
        headers.remove(ours);
    }
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
    if let Some(order) = quarantine.names() {
        headers.set(headers::ERROR_ORDER, clip(&order));
    }
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
