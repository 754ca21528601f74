//! The contract suite for stores: one case for every promise that [`longhaul_core::store`] makes.
//!
//! A store of your own runs it with [`store_contract_suite!`](crate::store_contract_suite), which makes one `#[test]`
//! per case, and passes when all of them do. What the suite can't do is end the process: test for yourself that
//! a store which says [`Durability::Process`](longhaul_core::store::Durability::Process) or more survives being
//! killed.
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use longhaul_core::store::Persistence;
//! use longhaul_testing::store_suite::StoreFixture;
//! # mod my_store {
//! #     #[derive(Debug, Default)]
//! #     pub struct Database;
//! #     #[async_trait::async_trait]
//! #     impl longhaul_core::store::Persistence for Database {
//! #         async fn open(
//! #             &self,
//! #             _: &longhaul_core::address::EndpointName,
//! #         ) -> Result<std::sync::Arc<dyn longhaul_core::store::Store>, longhaul_core::store::StoreError> {
//! #             panic!("a picture only")
//! #         }
//! #     }
//! #     impl Database {
//! #         pub fn open(_: &std::path::Path) -> Self { Self }
//! #     }
//! # }
//! use my_store::Database;
//!
//! struct Fixture {
//!     directory: std::path::PathBuf,
//! }
//!
//! #[async_trait]
//! impl StoreFixture for Fixture {
//!     async fn create(&self) -> Arc<dyn Persistence> {
//!         Arc::new(Database::open(&self.directory))
//!     }
//!
//!     async fn reopen(&self) -> Arc<dyn Persistence> {
//!         Arc::new(Database::open(&self.directory))
//!     }
//! }
//!
//! longhaul_testing::store_contract_suite!(Fixture {
//!     directory: std::env::temp_dir().join("a-new-one-for-each-case"),
//! });
//! # fn main() {}
//! ```
//!
//! # What the suite settles
//!
//! Where the seam's text leaves room, the suite reads it like this:
//!
//! - The changes of one unit take effect in order: inbox, then records, then pending rows, each change seeing those
//!   before it.
//! - A record is expired from the very moment of `expires` on. For a commit the time now is the latest
//!   [`InboxChange::at`](longhaul_core::store::InboxChange::at) of the unit; to a unit without one nothing is
//!   expired.
//! - A record that is written over an expired one goes on counting versions. They start anew only once it is deleted
//!   or purged.
//! - Whatever changes a row ends its claim: it is due again at its `attention`.
//! - A parked row stays parked through every change but [`PendingChange::Add`](longhaul_core::store::PendingChange::Add),
//!   which replaces it, and counts as parked only.
//! - The transport's own properties of an envelope are not stored.

pub mod admin;
pub mod atomic;
pub mod claims;
pub mod durable;
pub mod inbox;
pub mod isolation;
pub mod keys;
pub mod order;
pub mod pending;
pub mod random;
pub mod records;

mod fixture;
mod macros;
mod model;
mod sample;
mod steps;
mod subject;

pub use fixture::{StoreFixture, block_on};
