//! Puts sagas into an endpoint.

use longhaul_core::endpoint::EndpointBuilder;

use crate::participant::SagaParticipant;
use crate::saga::Saga;

/// Adds sagas to an endpoint that is being built.
pub trait SagaEndpoint {
    /// The endpoint runs the saga `S`: `.saga::<OrderSaga>()`.
    #[must_use]
    fn saga<S: Saga>(self) -> Self;
}

impl SagaEndpoint for EndpointBuilder {
    fn saga<S: Saga>(self) -> Self {
        self.stateful(SagaParticipant::<S>::new())
    }
}
