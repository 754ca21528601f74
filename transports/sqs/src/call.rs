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
pub struct Requests(Arc<AtomicU64>);

impl Requests {
    /// So many until now, polls among them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
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
