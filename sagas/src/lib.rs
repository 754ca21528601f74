//! Sagas for Longhaul: correlation, timeouts, compensation, versioned state.
//!
//! A saga is a plain type that implements [`Saga`]. It names no broker, no store, no clock and no async runtime: handling
//! a message is a pure function from the message and what is stored to what is stored and sent next.
//!
//! - [`Definition`] is its table of contents: what starts it, what it handles, what happens in time.
//! - [`SagaContext`] is what it can do: send, publish, reply, ask for timeouts, complete, compensate.
//! - A command may name its undo when it is sent ([`Sending::undo_with`]). Compensating undoes what was done in reverse
//!   order, one at a time, each exactly once in effect; what fails for good leaves the instance stuck, for an
//!   operator ([`operate`]).
//! - [`Itinerary`] writes a linear process as a list.
//! - [`control`] is what an operator tells a running endpoint about an instance.
//! - [`SagaEndpoint`] puts sagas into an endpoint; [`Instance`] and [`Description`] are for tools.
//!
//! # Finding the instance
//!
//! A reply to what an instance sent comes back to it, to the same life of it, through headers. Any other message finds its
//! instance through the closure that the table names for its type. A starting message creates the instance where there
//! is none or the last one is finished; a message that names an instance in its headers never creates one. A message for an
//! instance that is finished goes to `not_found`, or is counted and forgotten; one for an instance that never was is put
//! off, then goes to `not_found`, or to the error queue.

extern crate self as longhaul_sagas;

mod arrival;
mod compensation;
mod context;
pub mod control;
mod control_participant;
mod correlation;
mod definition;
mod description;
mod endpoint;
mod evolve;
mod finish;
mod history;
mod instance;
mod intervention;
mod itinerary;
mod known;
mod ledger;
mod not_found;
pub mod operate;
mod participant;
mod policy;
mod saga;
mod saga_id;
mod sending;
mod status;
mod stored;
mod table;
mod timeout;
mod turn;

pub use context::SagaContext;
pub use definition::Definition;
pub use description::{DescribedMessage, Description, Role};
pub use endpoint::SagaEndpoint;
pub use history::{History, HistoryEvent};
pub use instance::{Instance, InstanceStep, InstanceTimeout, UnreadableInstance};
pub use itinerary::{Itinerary, ItineraryStep, Journey, StepDeadline, Steps};
pub use not_found::NotFoundContext;
pub use participant::SagaParticipant;
pub use policy::CompensationPolicy;
pub use saga::{NoTimeout, Saga};
pub use saga_id::{Correlation, SagaId};
pub use sending::{Sending, Step};
pub use status::{Outcome, Status, StepState};
pub use timeout::{TimeoutId, When};
