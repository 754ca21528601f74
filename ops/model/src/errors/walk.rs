//! One look through a queue, page by page, that is always ended in good order.

use longhaul_core::admin::{Found, Pass, Place};

use crate::errors::error::OpsError;
use crate::errors::error_queue::ErrorQueue;

/// How many messages are in memory at a time.
pub(crate) const PAGE: usize = 256;

/// One look through the queue.
pub(crate) struct Walk {
    pass: Box<dyn Pass>,
}

impl Walk {
    pub(crate) async fn begin(queue: &ErrorQueue) -> Result<Self, OpsError> {
        let pass = queue.admin.look_through(&queue.name).await?;
        Ok(Self { pass })
    }

    /// A look that has begun elsewhere.
    pub(crate) const fn of(pass: Box<dyn Pass>) -> Self {
        Self { pass }
    }

    /// How many messages there were when it began.
    pub(crate) fn expected(&self) -> u64 {
        self.pass.expected()
    }

    /// The next messages; none: it is through.
    pub(crate) async fn page(&mut self, limit: usize) -> Result<Vec<Found>, OpsError> {
        Ok(self.pass.next(limit.clamp(1, PAGE)).await?)
    }

    pub(crate) async fn remove(&mut self, places: &[Place]) -> Result<(), OpsError> {
        if places.is_empty() {
            return Ok(());
        }
        Ok(self.pass.remove(places).await?)
    }

    /// Puts back what is left, whatever came of the work.
    pub(crate) async fn end<T>(self, result: Result<T, OpsError>) -> Result<T, OpsError> {
        if let Err(error) = self.pass.close().await {
            // What was shown goes back by itself, and what was to be done is done.
            tracing::warn!(%error, "a look through a queue was not ended in good order");
        }
        result
    }
}
