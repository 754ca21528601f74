//! Handles one message where nothing is stored.

use std::sync::Arc;

use crate::endpoint::arrival::Ready;
use crate::endpoint::attempt::run_handlers;
use crate::endpoint::compose::{self, Cause};
use crate::endpoint::dispatcher::send_and_wait;
use crate::endpoint::error_queue;
use crate::endpoint::failing;
use crate::endpoint::known::Known;
use crate::endpoint::probing::pass;
use crate::endpoint::process::Ending;
use crate::endpoint::shared::Shared;
use crate::handler::{HandlerError, HandlerResult, Received};
use crate::headers;
use crate::reason::Reason;
use crate::recoverability::Decision;

/// Handlers only, declared idempotent: no inbox, and the acknowledgement waits for the broker to have every output.
pub(crate) async fn storeless(shared: &Arc<Shared>, ready: &Ready<'_>) -> Ending {
    if ready.alone {
        // There is nowhere to mark that it was begun, so the broker's count alone decides.
        let text = "handle the message: the broker delivered it too often; it may end the process each time";
        let error = HandlerError::permanent(text).with_reason(Reason::KilledProcess);
        return error_queue::give_up(shared, ready, &Known::default(), &error).await;
    }
    let sent = ready.envelope().time_sent();
    let mut immediate = 0;
    let tried = u32::try_from(ready.envelope().number(headers::ATTEMPTS).unwrap_or(0)).unwrap_or(u32::MAX);
    let known = Known {
        attempts: tried,
        since: sent,
        ..Known::default()
    };
    loop {
        let received = Arc::new(Received {
            attempt: tried.saturating_add(immediate).saturating_add(1),
            now: shared.clock.now(),
            ..ready.received.clone()
        });
        let error = match storeless_attempt(shared, ready, &received).await {
            Ok(()) => {
                shared.counters.handled.one();
                return Ending::Settled;
            }
            Err(error) => error,
        };
        immediate += 1;
        match failing::decide(shared, ready, &known, immediate, &error) {
            Decision::RetryNow => {}
            Decision::RetryAfter(delay) => {
                return failing::retry_later_storeless(shared, ready, tried.saturating_add(immediate), delay)
                    .await;
            }
            Decision::ErrorQueue => {
                let known = Known {
                    attempts: tried.saturating_add(immediate),
                    ..known
                };
                return error_queue::give_up(shared, ready, &known, &error).await;
            }
        }
    }
}

async fn storeless_attempt(
    shared: &Arc<Shared>,
    ready: &Ready<'_>,
    received: &Arc<Received>,
) -> HandlerResult {
    pass!(shared, Before RunHandlers);
    let outbounds = run_handlers(shared, ready, received).await?;
    pass!(shared, After RunHandlers);
    let cause = Cause {
        incoming: Some(received),
        now: received.now,
        time_sent: received.envelope.time_sent(),
    };
    let mut batch = Vec::new();
    for outbound in outbounds {
        batch.extend(compose::dispatches(shared, cause, outbound)?);
    }
    pass!(shared, Before SendOutputs);
    let results = send_and_wait(shared, batch).await;
    pass!(shared, After SendOutputs);
    for result in results {
        result.map_err(HandlerError::transient)?;
    }
    Ok(())
}
