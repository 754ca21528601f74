//! Runs unmodified Longhaul endpoints through crashes, duplicates, races and failing calls, on virtual time, from one seed.

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
