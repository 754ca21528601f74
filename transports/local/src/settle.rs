//! The right to settle one delivery.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use longhaul_core::address::Address;
use longhaul_core::transport::{Settle, Settled, TransportError};

use crate::link::Link;
use crate::shared::Shared;

/// Names one delivery by its tag; what is dropped unsettled goes back to its place.
#[derive(Debug)]
pub(crate) struct LocalSettle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Address,
    pub(crate) tag: u64,
    pub(crate) link: Arc<Link>,
    pub(crate) settled: bool,
}

#[async_trait]
impl Settle for LocalSettle {
    async fn acknowledge(mut self: Box<Self>) -> Result<Settled, TransportError> {
        self.settled = true;
        self.shared.finish(&self.queue, self.tag)
    }

    async fn release(mut self: Box<Self>, after: Duration) -> Result<Settled, TransportError> {
        self.settled = true;
        if after.is_zero() {
            return Ok(self.shared.give_back(&self.queue, self.tag));
        }
        self.shared.postpone(&self.queue, self.tag, after)
    }

    fn lease_lost(&self) -> BoxFuture<'static, ()> {
        self.link.lost()
    }
}

impl Drop for LocalSettle {
    fn drop(&mut self) {
        if !self.settled {
            self.shared.give_back(&self.queue, self.tag);
        }
    }
}
