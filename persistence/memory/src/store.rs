//! The store of one endpoint. Every call takes one lock, and none waits for anything while it has it.

use std::fmt;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use longhaul_core::address::EndpointName;
use longhaul_core::clock::Timestamp;
use longhaul_core::store::{
    Claimed, Durability, LoadRequest, Loaded, PendingRow, Record, Sizes, Store, StoreAdmin, StoreError,
    UnitOfWork,
};

use crate::memory::SharedTables;
use crate::staged::{Staged, check_key};
use crate::tables::{Claimant, Tables};

pub(crate) struct MemoryStore {
    endpoint: EndpointName,
    tables: SharedTables,
    claimant: Claimant,
    durability: Durability,
}

impl MemoryStore {
    pub(crate) fn new(endpoint: EndpointName, tables: SharedTables, durability: Durability) -> Self {
        let claimant = tables
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .new_claimant();
        Self {
            endpoint,
            tables,
            claimant,
            durability,
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.tables().release(self.claimant);
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("endpoint", &self.endpoint)
            .field("sizes", &self.tables().sizes())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, request: &LoadRequest) -> Result<Loaded, StoreError> {
        request.records.iter().try_for_each(check_key)?;
        Ok(self.tables().load(request))
    }

    async fn commit(&self, work: UnitOfWork) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let staged = Staged::of(work, &tables)?;
        staged.apply(&mut tables);
        Ok(())
    }

    async fn claim_due(&self, now: Timestamp, lease: Duration, limit: usize) -> Result<Claimed, StoreError> {
        Ok(self.tables().claim(self.claimant, now, lease, limit))
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn admin(&self) -> &dyn StoreAdmin {
        self
    }
}

#[async_trait]
impl StoreAdmin for MemoryStore {
    async fn records(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        Ok(self.tables().list_records(collection, after, limit))
    }

    async fn pending(&self, after: Option<&PendingRow>, limit: usize) -> Result<Vec<PendingRow>, StoreError> {
        Ok(self.tables().list_pending(after, limit))
    }

    async fn purge(&self, before: Timestamp, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        Ok(self.tables().purge(before, now, limit))
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        Ok(self.tables().sizes())
    }
}
