//! What a saga is: a plain type with a name, an id, timeouts and a table of contents.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::saga_id::SagaId;

/// A process over several messages, with state of its own: the type is the state.
///
/// A saga does no I/O and reads no clock: its functions take a message and say through
/// [`SagaContext`](crate::SagaContext) what is sent, and when. All of it takes effect together with the new state, or not
/// at all; a saga that loses a race runs again on fresh state.
///
/// ```
/// use std::time::Duration;
/// use longhaul_core::handler::HandlerResult;
/// use longhaul_core::{Command, Event};
/// use longhaul_sagas::{Definition, Saga, SagaContext};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[message("sales.order_placed.v1")]
/// struct OrderPlaced { order: u64 }
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[message("billing.payment_taken.v1")]
/// struct PaymentTaken { order: u64 }
///
/// #[derive(Command, Serialize, Deserialize)]
/// #[message("sales.remind_customer.v1")]
/// struct RemindCustomer { order: u64 }
///
/// /// Reminds a customer who has not paid after a day.
/// #[derive(Serialize, Deserialize)]
/// struct Reminder { order: u64 }
///
/// #[derive(Serialize, Deserialize)]
/// enum Deadline { PaymentOverdue }
///
/// impl Saga for Reminder {
///     const NAME: &'static str = "reminder";
///     type Id = u64;
///     type Timeout = Deadline;
///
///     fn define(saga: &mut Definition<Self>) {
///         saga.starts_on(|m: &OrderPlaced| m.order, Self::start);
///         saga.handles(|m: &PaymentTaken| m.order, Self::on_payment_taken);
///         saga.times_out(Self::on_deadline);
///     }
/// }
///
/// impl Reminder {
///     fn start(placed: OrderPlaced, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
///         ctx.request_timeout(Duration::from_secs(86_400), Deadline::PaymentOverdue);
///         Ok(Self { order: placed.order })
///     }
///
///     fn on_payment_taken(&mut self, _: PaymentTaken, ctx: &mut SagaContext<Self>) -> HandlerResult {
///         ctx.complete();
///         Ok(())
///     }
///
///     fn on_deadline(&mut self, deadline: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
///         match deadline {
///             Deadline::PaymentOverdue => { ctx.send(RemindCustomer { order: self.order }); }
///         }
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a saga",
    label = "not a saga",
    note = "write `impl Saga for {Self}` with `NAME`, `Id`, `Timeout` and `define`"
)]
pub trait Saga: Serialize + DeserializeOwned + Send + Sync + Sized + 'static {
    /// Names the saga in stores, headers and tools: explicit, stable, unique in the endpoint. ASCII letters, digits, `.`,
    /// `-` and `_`, at most 100 bytes.
    const NAME: &'static str;

    /// The version of the state; one more whenever stored state of before no longer fits, with a step in the chain of
    /// migrations ([`Definition::evolve`]).
    const VERSION: u32 = 1;

    /// What names one instance.
    type Id: SagaId;

    /// What its timeouts say: an enum of the saga's own, or [`NoTimeout`].
    type Timeout: Serialize + DeserializeOwned + 'static;

    /// Fills in the table of contents.
    fn define(saga: &mut Definition<Self>);
}

/// The timeouts of a saga that has none: a type without values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoTimeout {}
