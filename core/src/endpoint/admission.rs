//! Waits until a message may be handled, or puts it off; either way it has cost the message nothing.

use std::time::Duration;

use crate::clock::within;
use crate::endpoint::arrival::Ready;
use crate::endpoint::error_queue::give_up;
use crate::endpoint::failing;
use crate::endpoint::gate::{Gate, gate, killed, look_up};
use crate::endpoint::gates::{Admitted, Answer, Waited};
use crate::endpoint::known::Known;
use crate::endpoint::probing::pass;
use crate::endpoint::process::{Ending, duplicate, stuck};
use crate::endpoint::quarantine::Quarantine;
use crate::endpoint::shared::Shared;
use crate::headers;
use crate::recoverability::fraction;

/// Whether a message may be handled.
pub(crate) enum Admission<'a> {
    Admitted(Admitted<'a>),
    /// It is no longer here.
    Ended(Ending),
}

/// Waits for breakers and limits; a message that waits for too long, or behind too many, is put off.
pub(crate) async fn admit<'a>(shared: &'a Shared, ready: &'a Ready<'_>) -> Admission<'a> {
    let place = match shared.gates.enter(shared, ready.takers, ready.alone) {
        Answer::Admitted(admitted) => return Admission::Admitted(admitted),
        Answer::Closed => return Admission::Ended(Ending::GiveBack),
        Answer::Full => return Admission::Ended(defer(shared, ready).await),
        Answer::Wait(place) => place,
    };
    loop {
        match within(&*shared.clock, shared.waits.hold, place.wait(shared)).await {
            Some(Waited::Admitted(admitted)) => return Admission::Admitted(admitted),
            Some(Waited::Closed) => return Admission::Ended(Ending::GiveBack),
            // Its store may be what fails, and the queue is not being taken from anyway.
            None if place.waits_for_endpoint(shared) => {}
            Some(Waited::Full) | None => break,
        }
    }
    drop(place);
    Admission::Ended(defer(shared, ready).await)
}

/// Puts a message off: a copy of it comes later, with as many attempts behind it as before.
async fn defer(shared: &Shared, ready: &Ready<'_>) -> Ending {
    let original = ready.original();
    let delay = delay(shared, ready);
    let Some(store) = shared.store.as_deref() else {
        shared.counters.deferred.one();
        let known = Known::storeless(original.envelope);
        let known = Known {
            deferred: known.deferred.saturating_add(1),
            ..known
        };
        return failing::send_later(shared, &original, &known, delay).await;
    };
    pass!(shared, Before Load);
    let order = ready.order.keys().cloned().collect();
    let found = look_up(shared, store, &original, order).await;
    pass!(shared, After Load);
    let (inbox, records) = match found {
        Ok((inbox, _, records)) => (inbox, records),
        Err(error) => return stuck(shared, original.id(), &error),
    };
    match gate(shared, &original, inbox) {
        Gate::Duplicate => duplicate(shared, original.id()),
        // Not a killer as long as it has not run once more.
        Gate::Killer(known) => {
            let quarantine = Quarantine::readable(&ready.order, records);
            give_up(shared, &original, &known, &killed(), &quarantine).await
        }
        Gate::Open(known) => {
            shared.counters.deferred.one();
            tracing::debug!(id = %original.id(), ?delay, "put off: what it needs is not to be had");
            let known = Known {
                deferred: known.deferred.saturating_add(1),
                ..known
            };
            failing::schedule(shared, store, &original, &known, delay).await
        }
    }
}

/// Twice as long each time up to a limit, and drawn from the upper half, so that not all come back at once.
fn delay(shared: &Shared, ready: &Ready<'_>) -> Duration {
    let times = ready.envelope().number(headers::DEFERRED).unwrap_or(0);
    let factor = u32::try_from(times)
        .ok()
        .and_then(|times| 1u32.checked_shl(times))
        .unwrap_or(u32::MAX);
    let longest = shared.waits.longest_defer;
    let half = shared.waits.defer.saturating_mul(factor).min(longest) / 2;
    half + fraction(half, shared.randomness.next_u64())
}
