//! A look through a queue of another process.

use async_trait::async_trait;
use longhaul_core::admin::{Found, Pass, Place};
use longhaul_core::transport::TransportError;

use crate::client::{Remote, foreign};
use crate::fault::Fault;
use crate::wire::{Answer, Request, WireFound};

/// A look that the other process has begun. Dropped, it ends with the next one, or with the connection.
#[derive(Debug)]
pub(crate) struct RemotePass {
    remote: Remote,
    expected: u64,
}

impl RemotePass {
    pub(crate) const fn new(remote: Remote, expected: u64) -> Self {
        Self { remote, expected }
    }

    async fn done(&self, request: &Request) -> Result<(), TransportError> {
        match self.remote.ask(request).await {
            Ok(Answer::Done) => Ok(()),
            Ok(_) => Err(foreign().into_transport()),
            Err(fault) => Err(fault.into_transport()),
        }
    }
}

#[async_trait]
impl Pass for RemotePass {
    fn expected(&self) -> u64 {
        self.expected
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Found>, TransportError> {
        match self.remote.ask(&Request::Next { limit }).await {
            Ok(Answer::Found { messages }) => {
                let found = messages.into_iter().map(WireFound::into_found);
                found.collect::<Result<_, _>>().map_err(Fault::into_transport)
            }
            Ok(_) => Err(foreign().into_transport()),
            Err(fault) => Err(fault.into_transport()),
        }
    }

    async fn remove(&mut self, places: &[Place]) -> Result<(), TransportError> {
        let places = places.iter().map(|place| place.0).collect();
        self.done(&Request::Remove { places }).await
    }

    async fn close(self: Box<Self>) -> Result<(), TransportError> {
        self.done(&Request::Close).await
    }
}
