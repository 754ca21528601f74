//! What is known to be sent and not yet written down: rides along with the next commit.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::within;
use crate::endpoint::probing::pass;
use crate::endpoint::settings::MARKS;
use crate::endpoint::shared::Shared;
use crate::store::{PendingChange, UnitOfWork};

/// Marks that wait for a commit. Losing one costs a second send under the same id, never a message.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    waiting: Mutex<Vec<PendingChange>>,
    notify: Notify,
}

impl Marks {
    fn lock(&self) -> MutexGuard<'_, Vec<PendingChange>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, mark: PendingChange) {
        let mut waiting = self.lock();
        waiting.push(mark);
        if waiting.len() == 1 || waiting.len() >= MARKS {
            self.notify.notify_one();
        }
    }

    /// Takes as many as one commit carries.
    pub(crate) fn take(&self) -> Vec<PendingChange> {
        let mut waiting = self.lock();
        let most = waiting.len().min(MARKS);
        waiting.drain(..most).collect()
    }

    /// Puts back what a failed commit carried, in front, so that newer marks for the same row stay newer.
    pub(crate) fn put_back(&self, marks: Vec<PendingChange>) {
        if !marks.is_empty() {
            self.lock().splice(..0, marks);
            self.notify.notify_one();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn is_full(&self) -> bool {
        self.lock().len() >= MARKS
    }
}

/// Writes down the marks that no commit took along in time; never ends.
pub(crate) async fn flush_marks(shared: &Shared) {
    let Some(store) = shared.store.as_deref() else {
        return std::future::pending().await;
    };
    loop {
        if shared.marks.is_empty() {
            shared.marks.notify.notified().await;
        }
        if !shared.marks.is_full() {
            // Fuller than one commit carries, or older than a moment, whichever comes first.
            within(&*shared.clock, shared.waits.mark_delay, async {
                while !shared.marks.is_full() {
                    shared.marks.notify.notified().await;
                }
            })
            .await;
        }
        if shared.marks.is_empty() {
            continue;
        }
        pass!(shared, Before WriteMarks);
        let written = shared.commit(store, UnitOfWork::default()).await;
        pass!(shared, After WriteMarks);
        if let Err(error) = written {
            tracing::warn!(%error, "could not write down what was sent; it is sent again under the same ids");
            shared.clock.sleep(shared.waits.again).await;
        }
    }
}
