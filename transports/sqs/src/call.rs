//! One request to AWS: with a time limit around everything, and again after a pause where that may help.

use std::{sync::Arc, time::Duration};

use aws_sdk_sqs::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use crate::{backoff::Backoff, fault::Fault, health::HealthBoard, timing::Timing};

/// What every request needs.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) timing: Timing,
    pub(crate) backoff: Backoff,
    pub(crate) health: Arc<HealthBoard>,
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
