//! Handles one message where nothing is stored.

use std::sync::Arc;

use crate::endpoint::arrival::Ready;
use crate::endpoint::attempt::{note_handled, run_handlers};
use crate::endpoint::compose::{self, Cause};
use crate::endpoint::dispatcher::send_and_wait;
use crate::endpoint::error_queue;
use crate::endpoint::failing::{self, guarded};
use crate::endpoint::gates::Admitted;
use crate::endpoint::known::Known;
use crate::endpoint::probing::pass;
use crate::endpoint::process::{Ending, Progress};
use crate::endpoint::quarantine::Quarantine;
use crate::endpoint::shared::Shared;
use crate::handler::{HandlerError, HandlerResult, Received};
use crate::reason::Reason;
use crate::recoverability::Outcome;

/// Handlers only, declared idempotent: no inbox, and the acknowledgement waits for the broker to have every output.
/// `None`: the message must be admitted again for another attempt.
pub(crate) async fn storeless(
    shared: &Arc<Shared>,
    ready: &Ready<'_>,
    progress: &mut Progress,
    admitted: &mut Admitted<'_>,
) -> Option<Ending> {
    let original = ready.original();
    // There is nowhere to wait in order.
    let nothing = Quarantine::default();
    if ready.alone {
        // There is nowhere to mark that it was begun, so the broker's count alone decides.
        let text = "handle the message: the broker delivered it too often; it may end the process each time";
        let error = HandlerError::permanent(text).with_reason(Reason::KilledProcess);
        let known = Known::storeless(original.envelope);
        return Some(error_queue::give_up(shared, &original, &known, &error, &nothing).await);
    }
    let mut known = Known::storeless(original.envelope);
    loop {
        let received = Arc::new(Received {
            attempt: known.and_failed(progress.failed).attempts.saturating_add(1),
            now: shared.clock.now(),
            ..ready.received.clone()
        });
        let error = match storeless_attempt(shared, ready, &received, admitted).await {
            Ok(()) => {
                admitted.ended(Outcome::Succeeded);
                note_handled(shared, &received, &[]);
                return Some(Ending::Settled);
            }
            Err(error) => shared.settings.rules.classified(error),
        };
        admitted.ended(failing::outcome(error.class(), received.attempt == 1));
        progress.failed += 1;
        known
            .since
            .get_or_insert(*progress.since.get_or_insert(received.now));
        let ended = failing::fail(shared, &original, &known, progress.failed, &error, &nothing).await;
        if ended.is_some() || !admitted.may_go_on() {
            return ended;
        }
    }
}

async fn storeless_attempt(
    shared: &Arc<Shared>,
    ready: &Ready<'_>,
    received: &Arc<Received>,
    admitted: &mut Admitted<'_>,
) -> HandlerResult {
    let outbounds = run_handlers(shared, ready, received, admitted).await?;
    let cause = Cause {
        incoming: Some(received),
        now: received.now,
        time_sent: received.envelope.time_sent(),
    };
    let mut batch = Vec::new();
    for outbound in outbounds {
        batch.extend(guarded("what writes its messages", || {
            compose::dispatches(shared, cause, outbound)
        })?);
    }
    pass!(shared, Before SendOutputs);
    let results = send_and_wait(shared, batch).await;
    pass!(shared, After SendOutputs);
    for result in results {
        result.map_err(HandlerError::transient)?;
    }
    Ok(())
}
