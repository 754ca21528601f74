//! Runs unmodified Longhaul endpoints through crashes, duplicates, races and failing calls, on virtual time, from one seed.
//!
//! A [`Simulation`] is a [`World`] of endpoints, put together as in production; a [`Workload`], what is asked of them; [`Faults`],
//! what may go wrong; and invariants over the [`Effects`]. Each seed stands for one [`Schedule`]: what goes wrong, and where. Beside
//! the invariants, the rules that Longhaul promises are checked on the trace of every schedule. A [`Failure`] is shrunk to the
//! few faults and requests that matter, tells its story, and can be replayed.
//!
//! ```
//! use longhaul_core::Command;
//! use longhaul_core::handler::{Context, Handler, HandlerResult};
//! use longhaul_simulation::{Effects, Outside, Simulation, Workload};
//!
//! #[derive(Command, serde::Serialize, serde::Deserialize)]
//! #[message("billing.charge_card.v1")]
//! struct ChargeCard { order: u64, cents: i64 }
//!
//! struct Billing { bank: Outside }
//!
//! impl Handler<ChargeCard> for Billing {
//!     async fn handle(&self, charge: ChargeCard, ctx: &mut Context) -> HandlerResult {
//!         let order = charge.order.to_string();
//!         // The bank honours idempotency keys. With `each` in place of `once` the simulation finds double charges.
//!         self.bank.once("charge", &order, charge.cents, ctx.idempotency_key()).await?;
//!         Ok(())
//!     }
//! }
//!
//! fn simulation() -> Simulation {
//!     let charges = (1..=3).map(|order| ChargeCard { order, cents: 1999 });
//!     Simulation::of(|world| {
//!         world.endpoint("billing", |endpoint, outside| {
//!             endpoint.handler::<ChargeCard>(Billing { bank: outside.clone() })
//!         })
//!     })
//!     .workload(Workload::new().send_each("billing", charges))
//!     .invariant("each order is charged once", |effects: &Effects| {
//!         let asked = effects.messages::<ChargeCard>();
//!         asked.iter().all(|charge| effects.count("charge", &charge.order.to_string()) == 1)
//!     })
//! }
//!
//! simulation().check(100);
//! // A schedule that was printed once, as a test to keep.
//! simulation().replay("rabbit requests:0 Acknowledge/Before#0=crash:1000 outside#0=unknown:1");
//! ```
//!
//! What is not simulated: threads, tasks and I/O of the handlers' own (there is no tokio runtime), and the clients and servers of
//! real brokers and databases, for which there are contract suites.

mod broker;
mod checks;
mod client;
mod effects;
mod explore;
mod faults;
mod hub;
mod machine;
mod outside;
mod plan;
mod random;
mod report;
mod shrink;
mod simulation;
mod store;
pub mod systems;
mod time;
mod trace;
mod transport;
mod workload;
mod world;

pub use broker::Personality;
pub use effects::{Committed, Effects, Sent};
pub use explore::Explored;
pub use faults::{FaultKind, Faults};
pub use longhaul_core::probe::{CrashPoint, Moment, Mutant, mutate};
pub use outside::{Call, Outside, Unreachable};
pub use plan::{InvalidSchedule, Schedule};
pub use report::Failure;
pub use simulation::{Holds, PointCount, Simulation, Summary, run_in_parallel};
pub use workload::Workload;
pub use world::World;
