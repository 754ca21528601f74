//! Messages, headers, the transport and store seams, the pipeline and the endpoint of Longhaul.
//!
//! This crate knows no broker client and no database. A broker is reached through
//! [`transport::Transport`], state is kept through [`store::Store`], and code takes part in handling
//! messages as a [`handler::Handler`] or as a [`stateful::StatefulHandler`]. Time, ids and randomness
//! come in through [`clock`] and [`ids`] only, so that everything above runs the same under a test clock.
//!
//! ```
//! use longhaul_core::clock::Timestamp;
//!
//! let due = Timestamp::parse("2026-11-21T00:00:00Z")?;
//! assert_eq!((due + std::time::Duration::from_secs(42)).to_string(), "2026-11-21T00:00:42Z");
//! # Ok::<(), longhaul_core::clock::InvalidTimestamp>(())
//! ```

extern crate self as longhaul_core;

pub mod address;
pub mod admin;
pub mod claim_check;
pub mod clock;
pub mod codec;
pub mod control;
pub mod endpoint;
pub mod envelope;
pub mod handler;
pub mod headers;
pub mod ids;
pub mod limits;
pub mod message;
pub mod ordering;
pub mod outbound;
pub mod outside;
pub mod pipeline;
#[cfg(feature = "simulation")]
pub mod probe;
pub mod reason;
pub mod recoverability;
pub mod signals;
pub mod stateful;
pub mod store;
pub mod transport;
pub use longhaul_macros::{Command, Event, Message};
