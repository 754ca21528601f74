//! What became of a message, in the words of the seam.

use std::time::Duration;

use longhaul_core::transport::{Accepted, TransportError, TransportErrorKind};

use super::{Outcome, Route, session::Obstacle, window::Verdict};
use crate::fault::{Fault, FaultKind};

/// The outcome of a message that was published; `refused` says for how long its queue has taken nothing.
pub(super) fn of_verdict(
    route: &Route,
    verdict: &Verdict,
    fault: Option<&Fault>,
    refused: Option<Duration>,
) -> Outcome {
    let name = route.name();
    let (kind, text) = match (verdict, route) {
        (Verdict::Accepted, _) => return Ok(Accepted::Queued),
        (Verdict::Returned, Route::Event(_)) => return Ok(Accepted::NoSubscribers),
        (Verdict::Returned, Route::Queue(_)) => return Err(no_queue(name)),
        (Verdict::Returned, Route::Delayed { exchange, .. }) => (
            TransportErrorKind::Unroutable,
            format!(
                "delay a message to `{name}`: `{exchange}` has lost its bindings; create the delay levels again"
            ),
        ),
        (Verdict::Refused(fault), Route::Event(_)) if fault.kind == FaultKind::NotFound => {
            return Ok(Accepted::NoSubscribers);
        }
        (Verdict::Refused(fault), _) if fault.kind == FaultKind::NotFound => (
            TransportErrorKind::Unroutable,
            format!("send to `{name}` ({}): send it again", fault.text),
        ),
        (Verdict::Refused(fault), _) if fault.kind == FaultKind::Different => {
            let text = format!(
                "send to `{name}` ({}): send less, or allow more at the broker",
                fault.text
            );
            (TransportErrorKind::Invalid, text)
        }
        (Verdict::Refused(fault), _) => return Err(fault.while_doing(&format!("send to `{name}`"))),
        (Verdict::Nacked, _) => {
            let seconds = refused.unwrap_or_default().as_secs();
            let text = format!(
                "send to `{name}`: the broker refused it, as everything for {seconds} s; the queue is full, or it was \
                 declared and has no leader"
            );
            (TransportErrorKind::Rejected, text)
        }
        (Verdict::Unknown, _) => {
            let why = fault.map_or("no confirmation came", |fault| &fault.text);
            let text = format!("send to `{name}`: it may have arrived or not ({why}); send it again");
            (TransportErrorKind::Unknown, text)
        }
    };
    Err(TransportError::new(kind, text))
}

/// The outcome of a message that could not be published at all.
pub(super) fn of_obstacle(route: &Route, obstacle: &Obstacle) -> Outcome {
    let name = route.name();
    match obstacle {
        Obstacle::NoSubscribers => Ok(Accepted::NoSubscribers),
        Obstacle::NoQueue => Err(no_queue(name)),
        Obstacle::Fault(fault) => Err(fault.while_doing(&format!("send to `{name}`"))),
        Obstacle::Error(kind, text) => Err(TransportError::new(
            *kind,
            format!("delay a message to `{name}`: failed to {text}"),
        )),
    }
}

fn no_queue(name: &str) -> TransportError {
    TransportError::new(
        TransportErrorKind::Unroutable,
        format!(
            "send to `{name}`: there is no such queue; start the endpoint that owns it, or correct the route"
        ),
    )
}
