//! Sending what was read, some at a time.

use longhaul_core::transport::{Dispatch, Transport};

use crate::errors::copying::is_over;
use crate::errors::error::OpsError;
use crate::errors::progress::Outcome;

/// How many messages, and how many bytes, are sent at a time.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Messages on their way, and what came of those before.
pub(crate) struct Batches<'a> {
    transport: &'a dyn Transport,
    batch: Vec<Dispatch>,
    bytes: usize,
    pub(crate) outcome: Outcome,
}

impl<'a> Batches<'a> {
    pub(crate) fn to(transport: &'a dyn Transport) -> Self {
        Self {
            transport,
            batch: Vec::new(),
            bytes: 0,
            outcome: Outcome::default(),
        }
    }

    /// One more message. Returns whether a batch was sent.
    pub(crate) async fn add(&mut self, dispatch: Dispatch) -> Result<bool, OpsError> {
        self.outcome.seen += 1;
        self.outcome.matched += 1;
        self.bytes += dispatch.envelope.body.len();
        self.batch.push(dispatch);
        if self.batch.len() < BATCH && self.bytes < BATCH_BYTES {
            return Ok(false);
        }
        self.send().await.map(|()| true)
    }

    /// Sends what is left.
    pub(crate) async fn end(mut self) -> Result<Outcome, OpsError> {
        self.send().await?;
        Ok(self.outcome)
    }

    /// # Errors
    /// None of a batch was taken, and the next one would fare no better.
    async fn send(&mut self) -> Result<(), OpsError> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        let most = self.transport.capabilities().max_batch.max(1);
        for some in batch.chunks(most) {
            let results = self.transport.dispatch(some).await;
            let before = self.outcome.done;
            let mut last = None;
            for (dispatch, result) in some.iter().zip(results) {
                match result {
                    Ok(_) => self.outcome.done += 1,
                    Err(error) => {
                        let id = dispatch.envelope.id.as_str();
                        self.outcome.fail(Some(id), error.to_string());
                        last = Some(error);
                    }
                }
            }
            let over = last.filter(|error| is_over(error.kind()) && self.outcome.done == before);
            if let Some(error) = over {
                return Err(error.into());
            }
        }
        Ok(())
    }
}
