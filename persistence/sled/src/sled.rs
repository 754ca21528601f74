//! The database, and which endpoints are open in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use longhaul_core::address::EndpointName;
use longhaul_core::store::{Persistence, Store, StoreError};
use longhaul_embedded::{Database, Options, ReadErrorKind};
use tokio::sync::Mutex;

use crate::endpoint::Endpoint;
use crate::fault;
use crate::keys::Keys;
use crate::opening;
use crate::store::SledStore;

/// The longest value that a database opened here takes: a body of a megabyte, with all headers that fit.
const MAX_VALUE_BYTES: usize = 4 << 20;

/// The endpoints that are open in this process, by database. A database is open once in a process, however many
/// handles there are, so what is in memory of an endpoint must be there once as well.
static OPEN: Mutex<BTreeMap<(PathBuf, EndpointName), Weak<Endpoint>>> = Mutex::const_new(BTreeMap::new());

/// An embedded database that keeps the state of endpoints. Clones share it.
///
/// What is opened twice for one endpoint shares everything. Claims belong to one opened store: the others respect
/// them, and they end when it is dropped.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data");
/// let sled = longhaul_sled::Sled::open(path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Sled {
    database: Database,
}

impl Sled {
    /// Opens the database in the directory `path`, and makes it when it is missing.
    ///
    /// Blocks, and reads all that is stored: at the start of a process that is fine, elsewhere use a thread meant for
    /// blocking. Values of up to 4 MiB are taken: for other limits open the database yourself and use [`Sled::on`].
    ///
    /// # Errors
    /// Another process has it open ([`InUse`](longhaul_core::store::StoreErrorKind::InUse)), it is damaged, newer
    /// than this version, the disk is full, or the path can't be used.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let options = Options::new().max_value_bytes(MAX_VALUE_BYTES);
        Database::open_with(path, options)
            .map(Self::on)
            .map_err(fault::on_open)
    }

    /// Uses a database that is open already, for instance because a broker keeps its queues in it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("data");
    /// let database = longhaul_embedded::Database::open(path)?;
    /// let sled = longhaul_sled::Sled::on(database.clone());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn on(database: Database) -> Self {
        Self { database }
    }

    /// Whether an endpoint of this name has kept anything here. Makes nothing, unlike opening its store.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn has(&self, endpoint: &EndpointName) -> Result<bool, StoreError> {
        let found = self.database.get(&Keys::of(endpoint).format());
        Ok(found.map_err(fault::on_read)?.is_some())
    }
}

#[async_trait]
impl Persistence for Sled {
    async fn open(&self, endpoint: &EndpointName) -> Result<Arc<dyn Store>, StoreError> {
        let mut open = OPEN.lock().await;
        open.retain(|_, endpoint| endpoint.strong_count() > 0);
        let name = (self.database.path().to_owned(), endpoint.clone());
        let shared = open.get(&name).and_then(Weak::upgrade).filter(is_usable);
        let shared = match shared {
            Some(shared) => shared,
            None => {
                let shared = Arc::new(opening::open(self.database.clone(), endpoint).await?);
                open.insert(name, Arc::downgrade(&shared));
                shared
            }
        };
        Ok(Arc::new(SledStore::new(endpoint.clone(), shared)))
    }

    async fn has(&self, endpoint: &EndpointName) -> Result<Option<bool>, StoreError> {
        Self::has(self, endpoint).map(Some)
    }
}

/// Whether the database was not closed since, so that another one may be open in its place.
fn is_usable(endpoint: &Arc<Endpoint>) -> bool {
    let answer = endpoint.database.get(&endpoint.keys.format());
    !answer.is_err_and(|error| error.kind() == ReadErrorKind::Closed)
}
