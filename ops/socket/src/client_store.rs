//! What endpoints of another process have stored.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use longhaul_core::address::{Address, EndpointName};
use longhaul_core::clock::Timestamp;
use longhaul_core::store::{
    Claimed, Durability, LoadRequest, Loaded, PendingChange, PendingRow, Persistence, Record, RecordChange,
    Sizes, Store, StoreAdmin, StoreError, StoreErrorKind, UnitOfWork,
};

use crate::client::{Remote, foreign};
use crate::fault::Fault;
use crate::wire::{Answer, Request, WirePlace, WireRecord, WireRow};

/// The stores of a process that listens in its data directory, as far as operators need them: records and pending rows can be listed,
/// records looked at, and timeouts cancelled and moved, each with the record that asked for it. Everything else is an error; of the
/// inbox nothing is told.
#[derive(Debug, Clone)]
pub struct RemoteStores(Remote);

impl RemoteStores {
    pub(crate) const fn new(remote: Remote) -> Self {
        Self(remote)
    }
}

#[async_trait]
impl Persistence for RemoteStores {
    async fn open(&self, endpoint: &EndpointName) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(RemoteStore {
            remote: self.0.clone(),
            endpoint: endpoint.clone(),
        }))
    }

    async fn has(&self, endpoint: &EndpointName) -> Result<Option<bool>, StoreError> {
        let endpoint = endpoint.clone();
        match self.0.ask(&Request::Has { endpoint }).await {
            Ok(Answer::Has { has }) => Ok(has),
            Ok(_) => Err(foreign().into_store()),
            Err(fault) => Err(fault.into_store()),
        }
    }
}

/// The store of one endpoint.
#[derive(Debug)]
struct RemoteStore {
    remote: Remote,
    endpoint: Address,
}

impl RemoteStore {
    async fn records(&self, request: &Request) -> Result<Vec<Record>, StoreError> {
        match self.remote.ask(request).await {
            Ok(Answer::Records { records }) => {
                let records = records.into_iter().map(WireRecord::into_record);
                records.collect::<Result<_, _>>().map_err(Fault::into_store)
            }
            Ok(_) => Err(foreign().into_store()),
            Err(fault) => Err(fault.into_store()),
        }
    }

    async fn change(&self, change: PendingChange, owner: Option<WireRecord>) -> Result<(), StoreError> {
        let endpoint = self.endpoint.clone();
        let request = match change {
            PendingChange::Cancel(id) => Request::Cancel { endpoint, id, owner },
            PendingChange::Move { id, due, .. } => Request::Move {
                endpoint,
                id,
                due,
                owner,
            },
            _ => return Err(not_here("commit")),
        };
        match self.remote.ask(&request).await {
            Ok(Answer::Done) => Ok(()),
            Ok(_) => Err(foreign().into_store()),
            Err(fault) => Err(fault.into_store()),
        }
    }
}

/// A record as it becomes, of the version that it must have.
fn owner(change: RecordChange) -> Result<WireRecord, StoreError> {
    match change {
        RecordChange::Put {
            key,
            expected: Some(version),
            body,
            expires,
        } => Ok(WireRecord::of(&Record {
            key,
            version,
            body,
            expires,
        })),
        _ => Err(not_here("commit")),
    }
}

fn not_here(what: &str) -> StoreError {
    let text = format!("{what}: that is not done over the socket of another process");
    StoreError::new(StoreErrorKind::Configuration, text)
}

#[async_trait]
impl Store for RemoteStore {
    async fn load(&self, request: &LoadRequest) -> Result<Loaded, StoreError> {
        if request.pending.is_some() {
            return Err(not_here("load a pending row"));
        }
        let mut loaded = Loaded::default();
        for key in &request.records {
            let asked = Request::Record {
                endpoint: self.endpoint.clone(),
                collection: key.collection.to_string(),
                id: key.id.to_string(),
            };
            let found = self.records(&asked).await?.pop();
            let is_there = |record: &Record| record.expires.is_none_or(|at| at > request.now);
            loaded.records.push(found.filter(is_there));
        }
        Ok(loaded)
    }

    /// Only one change at a time, and only of a timeout; with it, of the record that asked for it.
    async fn commit(&self, work: UnitOfWork) -> Result<(), StoreError> {
        let mut records = work.records.into_iter().map(owner);
        let mut pending = work.pending.into_iter();
        let change = (pending.next(), pending.next(), records.next(), records.next());
        match change {
            (Some(change), None, record, None) if work.inbox.is_empty() => {
                self.change(change, record.transpose()?).await
            }
            _ => Err(not_here("commit")),
        }
    }

    async fn claim_due(&self, _: Timestamp, _: Duration, _: usize) -> Result<Claimed, StoreError> {
        Err(not_here("claim rows"))
    }

    fn durability(&self) -> Durability {
        Durability::Synced
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn admin(&self) -> &dyn StoreAdmin {
        self
    }
}

#[async_trait]
impl StoreAdmin for RemoteStore {
    async fn records(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let request = Request::Records {
            endpoint: self.endpoint.clone(),
            collection: collection.to_owned(),
            after: after.map(str::to_owned),
            limit,
        };
        self.records(&request).await
    }

    async fn pending(&self, after: Option<&PendingRow>, limit: usize) -> Result<Vec<PendingRow>, StoreError> {
        let request = Request::Pending {
            endpoint: self.endpoint.clone(),
            after: after.map(WirePlace::of),
            limit,
        };
        match self.remote.ask(&request).await {
            Ok(Answer::Rows { rows }) => {
                let rows = rows.into_iter().map(WireRow::into_row);
                rows.collect::<Result<_, _>>().map_err(Fault::into_store)
            }
            Ok(_) => Err(foreign().into_store()),
            Err(fault) => Err(fault.into_store()),
        }
    }

    async fn purge(&self, _: Timestamp, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Err(not_here("purge"))
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        Err(not_here("count what is stored"))
    }
}
