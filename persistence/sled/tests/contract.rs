//! The store keeps the contract of the seam.

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::store::Persistence;
use longhaul_sled::Sled;
use longhaul_testing::store_suite::StoreFixture;

/// A directory of its own, whose database is opened anew each time.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap_or_else(|error| panic!("failed to make a directory: {error}")))
    }
}

#[async_trait]
impl StoreFixture for Fixture {
    async fn create(&self) -> Arc<dyn Persistence> {
        self.reopen().await
    }

    async fn reopen(&self) -> Arc<dyn Persistence> {
        let sled = Sled::open(self.0.path().join("data"));
        Arc::new(sled.unwrap_or_else(|error| panic!("failed to {error}")))
    }
}

longhaul_testing::store_contract_suite!(Fixture::new());
