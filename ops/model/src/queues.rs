//! How many messages wait where.

use longhaul_core::address::Address;
use longhaul_core::admin::{QueueAdmin, QueueDepth};
use longhaul_core::transport::TransportError;
use serde::Serialize;

/// The most queues that are listed.
const QUEUES: usize = 1_000;

/// How deep one queue is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueRow {
    /// Its name.
    pub queue: Address,
    /// Messages that wait to be taken.
    pub ready: u64,
    /// Messages that were taken and not settled, where the broker tells.
    pub unsettled: Option<u64>,
    /// Messages that are not due yet, where the broker tells.
    pub delayed: Option<u64>,
    /// Who consumes it, where the broker tells.
    pub consumers: Option<u64>,
}

impl QueueRow {
    fn new(queue: Address, depth: &QueueDepth) -> Self {
        Self {
            queue,
            ready: depth.ready,
            unsettled: depth.unsettled,
            delayed: depth.delayed,
            consumers: depth.consumers,
        }
    }
}

/// Looks at these queues; without any, at those that the broker tells of, and where it tells of none, at the error queue. One that
/// can't be looked at is an error of its own.
///
/// # Errors
/// The broker can't be asked which queues there are.
pub async fn list(
    admin: &dyn QueueAdmin,
    wanted: Vec<Address>,
    error_queue: &Address,
) -> Result<Vec<Result<QueueRow, TransportError>>, TransportError> {
    let wanted = if wanted.is_empty() {
        let told = admin.queues(QUEUES).await?;
        told.unwrap_or_else(|| vec![error_queue.clone()])
    } else {
        wanted
    };
    let mut rows = Vec::with_capacity(wanted.len());
    for queue in wanted {
        let depth = admin.depth(&queue).await;
        rows.push(depth.map(|depth| QueueRow::new(queue, &depth)));
    }
    Ok(rows)
}
