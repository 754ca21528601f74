//! The contract suite for transports: one case for every promise that [`longhaul_core::transport`] makes.
//!
//! A transport of your own runs it with [`transport_contract_suite!`](crate::transport_contract_suite), which makes one
//! `#[test]` per case, and passes when all of them do. The cases name no runtime: the fixture runs them
//! ([`TransportFixture::block_on`]) and gives them their time ([`TransportFixture::clock`]). Each case names its queues
//! through [`TransportFixture::unique`], so that many can share one broker. Nothing waits without a limit, and nothing
//! sleeps but for delays themselves and for silence.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use async_trait::async_trait;
//! use futures_util::future::LocalBoxFuture;
//! use longhaul_core::clock::{Clock, SystemClock};
//! use longhaul_core::transport::Transport;
//! use longhaul_testing::transport_suite::TransportFixture;
//! # mod my_broker {
//! #     pub async fn connect(_: &str) -> std::sync::Arc<dyn longhaul_core::transport::Transport> { panic!("a picture only") }
//! # }
//!
//! struct Fixture {
//!     run: String,
//! }
//!
//! #[async_trait]
//! impl TransportFixture for Fixture {
//!     async fn transport(&self) -> Arc<dyn Transport> {
//!         my_broker::connect("mybroker://localhost").await
//!     }
//!
//!     fn unique(&self, hint: &str) -> String {
//!         format!("{hint}-{}", self.run)
//!     }
//!
//!     fn clock(&self) -> Arc<dyn Clock> {
//!         Arc::new(SystemClock)
//!     }
//!
//!     fn short_delay(&self) -> Duration {
//!         Duration::from_millis(50)
//!     }
//!
//!     fn block_on(&self, case: LocalBoxFuture<'_, ()>) {
//!         let runtime = tokio::runtime::Builder::new_current_thread().build();
//!         runtime.expect("a runtime").block_on(case);
//!     }
//! }
//!
//! longhaul_testing::transport_contract_suite!(Fixture { run: "a-new-one-for-each-case".to_owned() });
//! # fn main() {}
//! ```
//!
//! # What the suite settles
//!
//! Where the seam's text leaves room, the suite reads it like this:
//!
//! - Ids, header names, header values and bodies arrive byte for byte, with nothing added; headers in any order.
//! - A transport removes no duplicates: one id sent twice arrives twice.
//! - To consume a queue that is missing is [`Unroutable`](longhaul_core::transport::TransportErrorKind::Unroutable) or
//!   [`Topology`](longhaul_core::transport::TransportErrorKind::Topology); to send to one is `Unroutable`.
//! - A due time already passed is no due time. One that is too far ahead, and any that is still to come of an event, is
//!   [`Invalid`](longhaul_core::transport::TransportErrorKind::Invalid).
//! - A delayed message holds up no other. Messages with different due times come in that order if the difference is at
//!   least [two short delays](TransportFixture::short_delay).
//! - A receiver that closes releases what it did not hand out. What it did hand out may still be settled, or the right
//!   is lost with it: [`Settled`](longhaul_core::transport::Settled) says which, and says the truth.
//! - A delivery that is dropped may come back to the same receiver.
//! - Verifying fails with `Topology` where a queue is missing. What a protocol can't check is in
//!   [`Report::unverified`](longhaul_core::transport::Report::unverified).
//! - A receiver whose queue is deleted fails, or goes on when the queue is there again.
//! - The count of redeliveries is 0 for a first delivery, and at least 1 for one that was dropped or released. Across
//!   a restart of the broker it may miss the first delivery, not more.

pub mod delays;
pub mod events;
pub mod faults;
pub mod fidelity;
pub mod receiving;
pub mod sending;
pub mod settling;
pub mod topology;

mod bench;
mod fixture;
mod macros;

pub use fixture::TransportFixture;
