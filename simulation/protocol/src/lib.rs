//! A model of how an endpoint handles messages, small enough that every interleaving can be looked at.
//!
//! Two processes of one endpoint share a store and a queue. Two messages for one record are in the queue; handling
//! one commits its inbox entry, the next version of the record and the rows of what it sends. Around that come the
//! faults: processes and the store crash, messages arrive twice, leases end too early, commits are answered with an
//! error although they took effect, and sends are refused or their confirmation is lost. [`search()`] takes every
//! step that is possible in every state, breadth first, and checks
//!
//! - in each state, the [`Invariant`]s;
//! - where nothing moves any more, that each message took effect once and all of its outputs are at the broker;
//! - from each state, that such an end can be reached without another fault.
//!
//! What is found comes with the shortest way there. To show that the checks see something, the protocol can be built
//! with a [`Mutation`]: one rule of the endpoint left out.
//!
//! ```
//! use longhaul_protocol_model::{Bounds, Mutation, Protocol, Verdict, search};
//!
//! let mut protocol = Protocol::new(Bounds::default());
//! assert!(matches!(search(&protocol, 100_000, |_| {}).verdict, Verdict::Holds));
//!
//! protocol.mutation = Some(Mutation::VersionNotCompared);
//! let Verdict::Violated(violation) = search(&protocol, 100_000, |_| {}).verdict else {
//!     panic!("two processes wrote the same version");
//! };
//! println!("{violation}");
//! ```
//!
//! # What the model leaves out
//!
//! - Time. A lease ends when its holder no longer works on what it is for, or too early as a fault, so every
//!   clock is covered; a lease that a crash of the store ends is such a fault.
//! - The body of the record: it follows from the chain of versions.
//! - Several messages in hand at once: a process takes messages for one record one after the other.
//! - The same row twice on its way in one process: the other process stands for that.
//! - Marks that ride along with another commit: here they are a commit of their own, at any moment.
//! - Delayed retries, the error queue, and timeouts, whose rows can be moved and deferred.

mod bounds;
mod faults;
mod invariant;
mod mutation;
mod protocol;
mod search;
mod set;
mod state;
mod step;
mod trace;
mod visited;

pub use bounds::Bounds;
pub use invariant::Invariant;
pub use mutation::Mutation;
pub use protocol::{Outputs, Protocol};
pub use search::{Level, Report, Verdict, search};
pub use state::{Message, ProcessId, Row, State};
pub use step::Step;
pub use trace::{Broken, Violation};
