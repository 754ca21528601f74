//! Listings and clean-up.

use async_trait::async_trait;
use longhaul_core::clock::Timestamp;
use longhaul_core::store::{PendingRow, Record, RecordKey, Sizes, StoreAdmin, StoreError};
use longhaul_embedded::Scan;

use crate::store::SledStore;
use crate::stored_record::StoredRecord;
use crate::{fault, purge};

/// The most entries that are read at a time.
const PAGE: usize = 256;

#[async_trait]
impl StoreAdmin for SledStore {
    async fn records(
        &self,
        collection: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        if collection.len() > RecordKey::MAX_COLLECTION_BYTES {
            return Ok(records);
        }
        let (database, keys) = (&self.endpoint.database, &self.endpoint.keys);
        let prefix = keys.collection(collection);
        let mut range = Scan::prefix(&prefix);
        if let Some(after) = after {
            range = range.after(&[&prefix, after.as_bytes()].concat());
        }
        while records.len() < limit {
            let wanted = (limit - records.len()).min(PAGE);
            let page = database
                .scan(&range.clone().limit(wanted))
                .map_err(fault::on_read)?;
            let Some((last, _)) = page.last() else {
                break;
            };
            range = range.after(last);
            for (key, value) in page {
                let id = String::from_utf8_lossy(key.get(prefix.len()..).unwrap_or_default());
                let key = RecordKey::new(collection, id);
                match StoredRecord::decode(&value) {
                    Ok(record) => records.push(record.named(key)),
                    Err(why) => {
                        let error = fault::unreadable_record(&key, why);
                        tracing::error!("a record is left out of a listing: failed to {error}");
                    }
                }
            }
        }
        Ok(records)
    }

    async fn pending(&self, after: Option<&PendingRow>, limit: usize) -> Result<Vec<PendingRow>, StoreError> {
        let mut rows = Vec::new();
        for id in self.endpoint.listed(after, limit) {
            match self.endpoint.stored_row(&id) {
                Ok(row) => rows.extend(row),
                Err(error) => tracing::error!("a row is left out of a listing: failed to {error}"),
            }
        }
        Ok(rows)
    }

    async fn purge(&self, before: Timestamp, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let messages = purge::messages(&self.endpoint, before, limit).await?;
        let records = purge::records(&self.endpoint, now, limit).await?;
        Ok(messages + records)
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        Ok(self.endpoint.sizes())
    }
}
