//! The embedded broker of Longhaul: queues, publish/subscribe and delays in one process, durable or in memory.
//!
//! [`LocalBroker`] is a [`Transport`](longhaul_core::transport::Transport) with nothing to install. It uses no runtime:
//! it runs under tokio, under a plain executor and under virtual time alike.
//!
//! What it deliberately does not do: talk to another process.

mod broker;
mod content;
mod link;
mod options;
mod queue;
mod receiver;
mod settle;
mod shared;
mod state;
mod topology;
mod transport;

pub use broker::{Browsed, LocalBroker};
pub use options::LocalOptions;
pub use queue::QueueLength;
