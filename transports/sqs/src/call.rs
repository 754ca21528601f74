//! One request to AWS: with a time limit around everything, and again after a pause where that may help.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_sqs::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use crate::{backoff::Backoff, fault::Fault, health::HealthBoard, timing::Timing};

/// How many requests a transport has made to AWS, which is what the bill counts. Clones count the same.
///
/// Requests that were given up or refused count too. What the SDK asks for by itself, credentials above all, does not.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: AtomicU64,
    sends: Count,
    polls: Count,
    settlements: Count,
}

/// Requests of one kind, and the messages in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// How many requests.
    pub requests: u64,
    /// How many messages there were in all of them together: ten a request at most.
    pub messages: u64,
}

#[derive(Debug, Default)]
struct Count {
    requests: AtomicU64,
    messages: AtomicU64,
}

impl Count {
    fn note(&self, messages: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.messages.fetch_add(messages as u64, Ordering::Relaxed);
    }

    fn filled(&self) -> Filled {
        Filled {
            requests: self.requests.load(Ordering::Relaxed),
            messages: self.messages.load(Ordering::Relaxed),
        }
    }
}

impl Requests {
    /// So many until now, polls among them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.all.load(Ordering::Relaxed)
    }

    /// Batches that were sent to queues and topics.
    #[must_use]
    pub fn sends(&self) -> Filled {
        self.0.sends.filled()
    }

    /// Polls of receivers that were answered, also those that brought nothing.
    #[must_use]
    pub fn polls(&self) -> Filled {
        self.0.polls.filled()
    }

    /// Batches of messages that were deleted, given back, or kept invisible for longer.
    #[must_use]
    pub fn settlements(&self) -> Filled {
        self.0.settlements.filled()
    }

    pub(crate) fn note_send(&self, messages: usize) {
        self.0.sends.note(messages);
    }

    pub(crate) fn note_poll(&self, messages: usize) {
        self.0.polls.note(messages);
    }

    pub(crate) fn note_settlement(&self, messages: usize) {
        self.0.settlements.note(messages);
    }

    fn one(&self) {
        self.0.all.fetch_add(1, Ordering::Relaxed);
    }
}

/// What every request needs.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) timing: Timing,
    pub(crate) backoff: Backoff,
    pub(crate) health: Arc<HealthBoard>,
    pub(crate) requests: Requests,
}

impl Caller {
    /// The answer to one request that is no poll.
    pub(crate) async fn once<T, E>(
        &self,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Fault>
    where
        E: ProvideErrorMetadata,
        SdkError<E, HttpResponse>: std::error::Error,
    {
        self.within(self.timing.answer, request).await
    }

    /// The answer to one request, with a limit of its own. The SDK's clients have limits too; this one holds even where
    /// those fail, and covers the loading of credentials.
    pub(crate) async fn within<T, E>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Fault>
    where
        E: ProvideErrorMetadata,
        SdkError<E, HttpResponse>: std::error::Error,
    {
        self.requests.one();
        let limit = limit + self.timing.credentials;
        let outcome = match tokio::time::timeout(limit, request).await {
            Ok(answer) => answer.map_err(Fault::from),
            Err(_) => Err(Fault::timed_out(limit)),
        };
        self.health.note(&outcome);
        outcome
    }

    /// The answer to a request that does no harm when it is made twice.
    pub(crate) async fn again<T, E, F>(&self, mut request: impl FnMut() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata,
        SdkError<E, HttpResponse>: std::error::Error,
    {
        let mut backoff = self.backoff.clone();
        let mut tries = 1;
        loop {
            match self.once(request()).await {
                Err(fault) if fault.is_passing() && tries < self.timing.tries => {
                    tries += 1;
                    tokio::time::sleep(backoff.pause()).await;
                }
                outcome => return outcome,
            }
        }
    }
}
