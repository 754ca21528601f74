//! What ties one receiver to what it has handed out.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};

/// Tells a receiver that it may take more, and its deliveries that it is gone.
#[derive(Debug)]
pub(crate) struct Link {
    freed: Notify,
    lost: watch::Sender<bool>,
}

impl Link {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            freed: Notify::new(),
            lost: watch::Sender::new(false),
        })
    }

    /// One of its deliveries was settled.
    pub(crate) fn free(&self) {
        self.freed.notify_one();
    }

    /// Resolves when one was settled since the last call.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// The receiver is gone.
    pub(crate) fn lose(&self) {
        self.lost.send_replace(true);
        self.freed.notify_one();
    }

    /// Resolves when the receiver is gone.
    pub(crate) fn lost(self: &Arc<Self>) -> BoxFuture<'static, ()> {
        let link = Arc::clone(self);
        Box::pin(async move {
            // The sender lives as long as this future does, so waiting can't fail.
            if link.lost.subscribe().wait_for(|lost| *lost).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
