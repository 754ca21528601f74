//! The database: what several endpoints keep, by their names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use longhaul_core::address::EndpointName;
use longhaul_core::store::{Durability, Persistence, Store, StoreError};

use crate::store::MemoryStore;
use crate::tables::Tables;

/// What one endpoint keeps; every store opened for it shares this.
pub(crate) type SharedTables = Arc<Mutex<Tables>>;

/// A database in memory, for tests, examples and simulations. Clones share what is in it.
///
/// What an endpoint stored is there when its store is opened again from the same database, so a test restarts an
/// endpoint by dropping it and building another. Everything is in a fixed order: the same calls always give the same
/// answers. Claims belong to one opened store: the others respect them, and they end when it is
/// dropped.
///
/// ```
/// let memory = longhaul_memory::Memory::new();
/// let the_same = memory.clone();
/// ```
#[derive(Clone)]
pub struct Memory {
    endpoints: Arc<Mutex<BTreeMap<EndpointName, SharedTables>>>,
    durability: Durability,
}

impl Memory {
    /// An empty database that says what it is: [`Durability::Memory`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            endpoints: Arc::default(),
            durability: Durability::Memory,
        }
    }

    /// An empty database that says it is [`Durability::Synced`], which it is not.
    ///
    /// For tests, simulations and demonstrations in virtual time that want an endpoint to behave as it does over a
    /// real database: there it acknowledges as soon as the effects are committed. The process loses everything when
    /// it ends.
    ///
    /// ```
    /// let memory = longhaul_memory::Memory::pretending_durable();
    /// ```
    #[must_use]
    pub fn pretending_durable() -> Self {
        Self {
            durability: Durability::Synced,
            ..Self::new()
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Memory")
            .field("endpoints", &endpoints.keys())
            .field("durability", &self.durability)
            .finish()
    }
}

#[async_trait]
impl Persistence for Memory {
    async fn open(&self, endpoint: &EndpointName) -> Result<Arc<dyn Store>, StoreError> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = endpoints.entry(endpoint.clone()).or_default();
        Ok(Arc::new(MemoryStore::new(
            endpoint.clone(),
            Arc::clone(tables),
            self.durability,
        )))
    }

    async fn has(&self, endpoint: &EndpointName) -> Result<Option<bool>, StoreError> {
        let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(endpoints.contains_key(endpoint)))
    }
}
