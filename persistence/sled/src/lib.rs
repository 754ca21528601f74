//! The embedded store of Longhaul, on sled: nothing to install, for one process.
//!
//! ```
//! use longhaul_core::address::Address;
//! use longhaul_core::store::{Durability, Persistence};
//! use longhaul_sled::Sled;
//!
//! # futures_executor::block_on(async {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("data");
//! let sled = Sled::open(path)?;
//! let store = Persistence::open(&sled, &Address::new("sales")?).await?;
//! assert_eq!(store.durability(), Durability::Synced);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # What it survives
//!
//! Everything that was committed survives the end of the process, and the loss of power as far as the disk keeps what
//! it confirmed; a unit of work is there as a whole or not at all. A database belongs to one process: a second one is
//! refused. Several processes of one endpoint need a store on a database server.
//!
//! # What it costs
//!
//! Commits that wait at the same time share one sync. Reads don't wait for commits; what the cache of the database
//! does not hold they read from disk, on the thread that asks.
//!
//! For each pending row about 200 bytes of memory are in use, so a million timeouts that wait take 200 MB. Opening an
//! endpoint reads its pending rows and counts the rest: about two seconds for a million entries.
//!
//! Each value carries a checksum. One that can't be read fails only what asks for it, with
//! [`StoreErrorKind::Unreadable`](longhaul_core::store::StoreErrorKind::Unreadable); everything else goes on.

mod admin;
mod draft;
mod endpoint;
mod fault;
mod in_flight;
mod index;
mod keys;
mod memory;
mod opening;
mod purge;
mod rows;
mod seal;
mod sled;
mod store;
mod stored_inbox;
mod stored_record;
mod stored_row;

pub use sled::Sled;
