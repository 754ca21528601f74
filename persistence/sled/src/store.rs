//! The store of one endpoint.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use longhaul_core::address::EndpointName;
use longhaul_core::clock::Timestamp;
use longhaul_core::store::{
    Claimed, Durability, LoadRequest, Loaded, PendingRow, Record, RecordKey, Store, StoreAdmin, StoreError,
    UnitOfWork,
};

use crate::endpoint::Endpoint;
use crate::fault;
use crate::index::Claimant;
use crate::stored_record::StoredRecord;
use crate::{stored_inbox, stored_row};

pub(crate) struct SledStore {
    name: EndpointName,
    pub(crate) endpoint: Arc<Endpoint>,
    claimant: Claimant,
}

impl SledStore {
    pub(crate) fn new(name: EndpointName, endpoint: Arc<Endpoint>) -> Self {
        let claimant = endpoint.new_claimant();
        Self {
            name,
            endpoint,
            claimant,
        }
    }

    /// The values under `keys`, all as they are at one moment.
    fn read(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.endpoint.database.get_all(keys).map_err(fault::on_read)
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.endpoint.release(self.claimant);
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore")
            .field("endpoint", &self.name)
            .field("path", &self.endpoint.database.path())
            .field("sizes", &self.endpoint.sizes())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SledStore {
    async fn load(&self, request: &LoadRequest) -> Result<Loaded, StoreError> {
        request.records.iter().try_for_each(fault::check_key)?;
        let keys = &self.endpoint.keys;
        let mut wanted = vec![keys.inbox(&request.inbox)];
        wanted.extend(request.pending.iter().map(|id| keys.row(id)));
        wanted.extend(request.records.iter().map(|key| keys.record(key)));
        let mut found = self.read(&wanted)?.into_iter();

        let inbox = found
            .next()
            .flatten()
            .map(|value| stored_inbox::decode(&value))
            .transpose();
        let inbox = inbox.map_err(|why| {
            fault::unreadable(&format!("what is known of the message {}", request.inbox), why)
        })?;
        let pending = match &request.pending {
            None => None,
            Some(id) => {
                let row = found
                    .next()
                    .flatten()
                    .map(|value| stored_row::decode(&value))
                    .transpose();
                row.map_err(|why| fault::unreadable(&format!("the pending row {id}"), why))?
            }
        };
        let records = request.records.iter().zip(found);
        let records = records.map(|(key, value)| record(key, value.as_ref(), request.now));
        Ok(Loaded {
            inbox: inbox.map(|(state, _)| state),
            pending,
            records: records.collect::<Result<_, _>>()?,
        })
    }

    async fn commit(&self, work: UnitOfWork) -> Result<(), StoreError> {
        self.endpoint.commit(work).await
    }

    async fn claim_due(&self, now: Timestamp, lease: Duration, limit: usize) -> Result<Claimed, StoreError> {
        let due = self.endpoint.claim(self.claimant, now, lease, limit);
        let mut rows = Vec::with_capacity(due.ids.len());
        for id in due.ids {
            match self.endpoint.stored_row(&id) {
                Ok(row) => rows.extend(row.filter(|row| is_due(row, now))),
                // It stays claimed, and is tried again when the lease ends.
                Err(error) => tracing::error!(row = %id, "a pending row is passed over: failed to {error}"),
            }
        }
        Ok(Claimed { rows, next: due.next })
    }

    fn durability(&self) -> Durability {
        Durability::Synced
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn admin(&self) -> &dyn StoreAdmin {
        self
    }
}

/// Whether the row still wants what it was claimed for: it may have changed since.
fn is_due(row: &PendingRow, now: Timestamp) -> bool {
    row.parked.is_none() && row.attention <= now
}

fn record(key: &RecordKey, value: Option<&Bytes>, now: Timestamp) -> Result<Option<Record>, StoreError> {
    let record = value.map(StoredRecord::decode).transpose();
    let record = record.map_err(|why| fault::unreadable_record(key, why))?;
    let record = record.filter(|record| !record.has_expired(now));
    Ok(record.map(|record| record.named(key.clone())))
}
