//! The right to settle one message.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use longhaul_core::transport::{Settle, Settled, TransportError, TransportErrorKind};
use tokio::sync::watch;

use crate::{
    receive::{
        ledger::{How, Ledger},
        turns::Turn,
    },
    timing::seconds_up,
};

/// The longest invisibility of SQS.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// A message that is held. Dropped unsettled, it is released at once.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) key: u64,
    pub(crate) lost: watch::Receiver<bool>,
    pub(crate) is_settled: bool,
    /// Its place among those that are kept in order.
    pub(crate) turn: Option<Turn>,
}

impl Claim {
    async fn settle(mut self: Box<Self>, how: How) -> Result<Settled, TransportError> {
        self.is_settled = true;
        let Some(answer) = self.ledger.settle(self.key, how) else {
            return Ok(Settled::Lost);
        };
        // Else, those behind it are given back when this is dropped. A message that is handled, and deleted only after the next
        // one of its group was begun, is a duplicate if it comes again.
        if let (How::Delete, Some(turn)) = (how, self.turn.take()) {
            turn.done();
        } else {
            drop(self.turn.take());
        }
        // The ledger answers at the latest when the lease lapses; this is for the end of the runtime.
        match tokio::time::timeout(self.ledger.patience(), answer).await {
            Ok(Ok(settled)) => settled,
            Ok(Err(_)) | Err(_) => Err(TransportError::new(
                TransportErrorKind::Unknown,
                "settle a message: there was no answer; it may come back by itself",
            )),
        }
    }
}

#[async_trait]
impl Settle for Claim {
    /// Done means that SQS has forgotten the message.
    async fn acknowledge(self: Box<Self>) -> Result<Settled, TransportError> {
        self.settle(How::Delete).await
    }

    /// More than 12 hours are not kept by SQS: the message comes after 12 hours then.
    async fn release(self: Box<Self>, after: Duration) -> Result<Settled, TransportError> {
        self.settle(How::Release(seconds_up(after.min(LONGEST)))).await
    }

    fn lease_lost(&self) -> BoxFuture<'static, ()> {
        let mut lost = self.lost.clone();
        Box::pin(async move {
            if lost.wait_for(|lost| *lost).await.is_err() {
                // Settled: there is nothing left to lose.
                std::future::pending::<()>().await;
            }
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_settled {
            drop(self.ledger.settle(self.key, How::Release(0)));
        }
    }
}
