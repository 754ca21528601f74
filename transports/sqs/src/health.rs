//! Whether AWS can be reached, out of the outcomes of all requests.

use longhaul_core::transport::Health;
use tokio::sync::watch;

use crate::fault::{Fault, FaultKind};

/// Collects what requests report; the last one counts.
#[derive(Debug)]
pub(crate) struct HealthBoard {
    sender: watch::Sender<Health>,
}

impl HealthBoard {
    pub(crate) fn new() -> Self {
        Self {
            sender: watch::channel(Health::Disconnected("nothing was asked of it yet".to_owned())).0,
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.sender.subscribe()
    }

    /// Notes what became of a request.
    pub(crate) fn note<T>(&self, outcome: &Result<T, Fault>) {
        let health = match outcome {
            Ok(_) => Health::Connected,
            Err(fault) => match fault.kind {
                FaultKind::Unreached | FaultKind::Unanswered | FaultKind::Failed => {
                    Health::Disconnected(fault.text.clone())
                }
                FaultKind::Denied => Health::Blocked(fault.text.clone()),
                // An answer, if not the one that was hoped for.
                FaultKind::Missing
                | FaultKind::Different
                | FaultKind::Throttled
                | FaultKind::Stale
                | FaultKind::Refused => Health::Connected,
            },
        };
        self.sender.send_if_modified(|current| {
            let changed = *current != health;
            *current = health;
            changed
        });
    }
}
