//! Puts sagas into an endpoint.

use longhaul_core::endpoint::EndpointBuilder;

use crate::control_participant::SagaControl;
use crate::participant::SagaParticipant;
use crate::saga::Saga;

/// Adds sagas to an endpoint that is being built.
///
/// ```
/// # use longhaul_core::handler::HandlerResult;
/// # use longhaul_core::{Command, Event, Message};
/// # use longhaul_sagas::{Definition, NotFoundContext, NoTimeout, Outcome, Saga, SagaContext};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[message("sales.order_placed.v1")]
/// # struct OrderPlaced { order: u64 }
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[message("sales.cancel_order.v1")]
/// # struct CancelOrder { order: u64 }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[message("sales.order_not_cancelled.v1")]
/// # struct OrderNotCancelled { is_shipped: bool }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[message("billing.card_charged.v1")]
/// # struct CardCharged;
/// # #[derive(Serialize, Deserialize)]
/// # struct Order;
/// # impl Saga for Order {
/// #     const NAME: &'static str = "order";
/// #     type Id = u64;
/// #     type Timeout = NoTimeout;
/// #     fn define(_: &mut Definition<Self>) {}
/// # }
/// use longhaul_core::endpoint::Endpoint;
/// use longhaul_sagas::SagaEndpoint;
///
/// let sales = Endpoint::builder("sales").saga::<Order>();
/// # drop(sales);
/// ```
pub trait SagaEndpoint {
    /// The endpoint runs the saga `S`: `.saga::<OrderSaga>()`.
    #[must_use]
    fn saga<S: Saga>(self) -> Self;

    /// Like [`SagaEndpoint::saga`], and takes [`Operate`](crate::control::Operate) for its instances: an operator retries or skips a
    /// step of one, or ends it, while the endpoint runs. Whoever may send to its queue may send that.
    #[must_use]
    fn operable_saga<S: Saga>(self) -> Self;
}

impl SagaEndpoint for EndpointBuilder {
    fn saga<S: Saga>(self) -> Self {
        self.stateful(SagaParticipant::<S>::new())
    }

    fn operable_saga<S: Saga>(self) -> Self {
        self.saga::<S>().stateful(SagaControl::<S>::new())
    }
}
