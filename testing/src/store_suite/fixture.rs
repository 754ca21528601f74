//! What a store brings along to be tested.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::store::Persistence;

/// Makes the databases that the cases work on. Each test has a fixture of its own.
///
/// What can't be made or opened is a failed test: panic with the reason.
#[async_trait]
pub trait StoreFixture: Send + Sync {
    /// Makes an empty database and opens it. A case does so once, and first.
    async fn create(&self) -> Arc<dyn Persistence>;

    /// Opens the database that was made, as a process does that starts after a clean stop. By then the case has let go
    /// of everything it had of it.
    async fn reopen(&self) -> Arc<dyn Persistence>;
}

/// Runs a case on this thread, without a runtime: what
/// [`store_contract_suite!`](crate::store_contract_suite) does unless it is told otherwise.
pub fn block_on<F: Future>(case: F) -> F::Output {
    futures_executor::block_on(case)
}
