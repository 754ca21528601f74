//! Operators reach a running embedded endpoint: its process listens on a Unix domain socket in its data directory, and the
//! `longhaul` command looks through queues and stores over it, as it does in a directory that nobody has open.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use longhaul_core::clock::SystemClock;
//! use longhaul_embedded::Database;
//! use longhaul_local::LocalBroker;
//! use longhaul_sled::Sled;
//! use longhaul_socket::Socket;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let database = Database::open("/var/lib/sales")?;
//! let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock))?;
//! // Until it is dropped, it listens.
//! let _socket = Socket::listen(&database, &broker, &Sled::on(database.clone()))?;
//! # Ok(())
//! # }
//! ```
//!
//! # Who may do what
//!
//! Only the user that runs the endpoint, and root: the socket has the mode 0600. Whoever may use it may do what they could do with
//! the directory itself: look at messages and state, send, take out of queues, and cancel and move timeouts, with the record of the
//! instance that waits for them. Nothing else is understood. Connections, requests and answers are bounded, in number, size and time.
//!
//! What it deliberately does not do: listen on the network, or write other state. What is to be done about a saga is a message to
//! its endpoint.
//!
//! The broker may be another one than that of the directory, for an endpoint on RabbitMQ with its store here: `listen` takes an
//! `Arc` of it.
//!
//! On systems other than Unix this crate is empty.

#![cfg(unix)]

mod client;
mod client_pass;
mod client_store;
mod connection;
mod fault;
mod frame;
mod page;
mod path;
mod server;
mod socket_error;
mod wire;

pub use client::Remote;
pub use client_store::RemoteStores;
pub use server::Socket;
pub use socket_error::{SocketError, SocketErrorKind};
