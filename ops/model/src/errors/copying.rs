//! Moving messages: the copy is confirmed first, then the original is taken out.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::admin::Place;
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::transport::{Dispatch, Transport, TransportError, TransportErrorKind};

use crate::errors::error::OpsError;
use crate::errors::error_queue::count;
use crate::errors::progress::Outcome;
use crate::errors::walk::Walk;

/// A copy that is to be sent, and where its original lies.
pub(crate) struct Copy {
    pub(crate) place: Place,
    pub(crate) dispatch: Dispatch,
}

/// Keeps to a rate.
pub(crate) struct Pace {
    clock: Arc<dyn Clock>,
    per_second: Option<NonZeroU32>,
    next: Timestamp,
}

impl Pace {
    pub(crate) fn new(clock: Arc<dyn Clock>, per_second: Option<NonZeroU32>) -> Self {
        let next = clock.now();
        Self {
            clock,
            per_second,
            next,
        }
    }

    /// How many may go at once: a tenth of a second's.
    fn at_once(&self) -> usize {
        let of = |rate: NonZeroU32| usize::try_from(rate.get() / 10).unwrap_or(1).max(1);
        self.per_second.map_or(usize::MAX, of)
    }

    /// Waits until these may go.
    async fn wait_for(&mut self, messages: usize) {
        let Some(rate) = self.per_second else {
            return;
        };
        self.clock.sleep_until(self.next).await;
        let takes =
            Duration::from_secs(1).saturating_mul(u32::try_from(messages).unwrap_or(u32::MAX)) / rate.get();
        self.next = self.next.max(self.clock.now()) + takes;
    }
}

/// Sends copies, and takes out the originals of those that the broker has confirmed. Returns what the broker said of the last one
/// that it refused.
///
/// # Errors
/// Nothing could be sent or taken out any more. What was confirmed until then may lie there still: the same copies, sent again,
/// have the same ids.
pub(crate) async fn copy(
    transport: &dyn Transport,
    walk: &mut Walk,
    copies: Vec<Copy>,
    pace: &mut Pace,
    outcome: &mut Outcome,
    told: &mut (dyn FnMut(&Outcome) + Send),
) -> Result<Option<TransportError>, OpsError> {
    let mut refused = None;
    let most = transport.capabilities().max_batch.min(pace.at_once()).max(1);
    for some in copies.chunks(most) {
        pace.wait_for(some.len()).await;
        let batch: Vec<Dispatch> = some.iter().map(|copy| copy.dispatch.clone()).collect();
        if deletes_first() {
            let places: Vec<Place> = some.iter().map(|copy| copy.place).collect();
            walk.remove(&places).await?;
        }
        let results = transport.dispatch(&batch).await;
        let (mut confirmed, mut over) = (Vec::with_capacity(some.len()), None);
        for (copy, result) in some.iter().zip(results) {
            match result {
                Ok(_) => confirmed.push(copy.place),
                Err(error) => {
                    outcome.fail(Some(copy.dispatch.envelope.id.as_str()), error.to_string());
                    if is_over(error.kind()) {
                        over = Some(error);
                    } else {
                        refused = Some(error);
                    }
                }
            }
        }
        walk.remove(&confirmed).await?;
        outcome.done += count(confirmed.len());
        told(outcome);
        if let Some(error) = over.filter(|_| confirmed.is_empty()) {
            return Err(error.into());
        }
    }
    Ok(refused)
}

/// Whether the next message would fare no better.
pub(crate) const fn is_over(kind: TransportErrorKind) -> bool {
    matches!(
        kind,
        TransportErrorKind::Disconnected
            | TransportErrorKind::Unknown
            | TransportErrorKind::Denied
            | TransportErrorKind::Closed
    )
}

/// Whether a test makes this wrong on purpose.
fn deletes_first() -> bool {
    #[cfg(feature = "simulation")]
    return longhaul_core::probe::is_mutated(longhaul_core::probe::Mutant::ReplayDeletesFirst);
    #[cfg(not(feature = "simulation"))]
    return false;
}
