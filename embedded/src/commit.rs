//! The answer to a commit, awaited or waited for.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::commit_error::CommitError;

/// Resolves when a batch is durable, or refused. Made by [`Database::commit`](crate::Database::commit).
///
/// The batch was queued before this was returned: dropping it gives up the answer, not the commit.
#[derive(Debug)]
#[must_use = "only the answer tells whether the batch is durable"]
pub struct Commit(Answer);

#[derive(Debug)]
enum Answer {
    Refused(Option<CommitError>),
    Awaited(oneshot::Receiver<Result<(), CommitError>>),
}

impl Commit {
    pub(crate) fn refused(error: CommitError) -> Self {
        Self(Answer::Refused(Some(error)))
    }

    pub(crate) fn awaited(answer: oneshot::Receiver<Result<(), CommitError>>) -> Self {
        Self(Answer::Awaited(answer))
    }

    /// Blocks the thread until the answer is there. For code that is not async.
    ///
    /// # Panics
    ///
    /// When it is called in an async context, where it would block every task of the thread.
    pub fn wait(self) -> Result<(), CommitError> {
        match self.0 {
            Answer::Refused(error) => Err(error.unwrap_or_else(CommitError::closed)),
            Answer::Awaited(answer) => answer
                .blocking_recv()
                .unwrap_or_else(|_| Err(CommitError::closed())),
        }
    }
}

impl Future for Commit {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Answer::Refused(error) => Poll::Ready(Err(error.take().unwrap_or_else(CommitError::closed))),
            Answer::Awaited(answer) => Pin::new(answer)
                .poll(context)
                .map(|answer| answer.unwrap_or_else(|_| Err(CommitError::closed()))),
        }
    }
}
