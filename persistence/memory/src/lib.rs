//! An in-memory store for Longhaul tests, examples and simulations.
//!
//! It keeps the whole contract of [`longhaul_core::store`] except one word: what it holds is gone with the process.
//! Within the process it outlives the endpoint, so that a test can stop one and start it anew.
//!
//! ```
//! use longhaul_core::address::Address;
//! use longhaul_core::store::{Durability, Persistence};
//! use longhaul_memory::Memory;
//!
//! # futures_executor::block_on(async {
//! let memory = Memory::new();
//! let store = memory.open(&Address::new("sales")?).await?;
//! assert_eq!(store.durability(), Durability::Memory);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod memory;
mod staged;
mod store;
mod tables;

pub use memory::Memory;
