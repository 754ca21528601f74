//! The embedded broker of Longhaul: queues, publish/subscribe and delays in one process, durable or in memory.
//!
//! [`LocalBroker`] is a [`Transport`](longhaul_core::transport::Transport) with nothing to install. It uses no runtime:
//! it runs under tokio, under a plain executor and under virtual time alike.
//!
//! What it deliberately does not do: talk to another process.

mod admin;
mod broker;
mod claim;
mod commits;
mod content;
mod journal;
mod keys;
mod link;
mod message;
mod options;
mod queue;
mod receiver;
mod recovery;
mod settle;
mod shared;
mod state;
mod stored;
mod topology;
mod transport;

pub use broker::{Browsed, LocalBroker};
pub use options::LocalOptions;
pub use queue::QueueLength;
