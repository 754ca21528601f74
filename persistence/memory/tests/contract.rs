//! The store keeps the contract of the seam.

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::store::Persistence;
use longhaul_memory::Memory;
use longhaul_testing::store_suite::StoreFixture;

/// A database that outlives what is opened of it.
#[derive(Default)]
struct Fixture(Memory);

#[async_trait]
impl StoreFixture for Fixture {
    async fn create(&self) -> Arc<dyn Persistence> {
        self.reopen().await
    }

    async fn reopen(&self) -> Arc<dyn Persistence> {
        Arc::new(self.0.clone())
    }
}

longhaul_testing::store_contract_suite!(Fixture::default());
