//! Sagas for Longhaul: correlation, timeouts, compensation, versioned state.
//!
//! A saga is a plain type that implements [`Saga`]. It names no broker, no store, no clock and no async runtime: handling
//! a message is a pure function from the message and what is stored to what is stored and sent next.

extern crate self as longhaul_sagas;

mod arrival;
mod compensation;
mod context;
mod correlation;
mod definition;
mod description;
mod endpoint;
mod evolve;
mod finish;
mod instance;
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
