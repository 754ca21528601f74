//! The contract suite for what operators do with queues: one case for every promise of [`longhaul_core::admin`].
//!
//! It runs on the fixture of a transport ([`TransportFixture`]) that also gives its [`QueueAdmin`]:
//! [`admin_contract_suite!`](crate::admin_contract_suite) makes one `#[test]` per case.

mod cases;
mod macros;

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::admin::QueueAdmin;
use longhaul_core::transport::Transport;

use crate::transport_suite::TransportFixture;

pub use cases::*;

/// A transport's fixture whose broker operators can work on.
#[async_trait]
pub trait AdminFixture: TransportFixture {
    /// A transport on the broker of this test and the operator's side of it: connections of their own where there are such.
    async fn admin(&self) -> (Arc<dyn Transport>, Arc<dyn QueueAdmin>);

    /// Whether the broker knows how many messages are in a queue; its counts are estimates otherwise.
    fn counts(&self) -> bool {
        true
    }
}
