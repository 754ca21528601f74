//! Reading what an endpoint left behind.

use bytes::Bytes;
use longhaul_core::address::EndpointName;
use longhaul_core::store::{StoreError, StoreErrorKind};
use longhaul_embedded::{Batch, Database, Scan};

use crate::endpoint::Endpoint;
use crate::fault;
use crate::index::Entry;
use crate::keys::Keys;
use crate::memory::Known;
use crate::stored_row;

/// The format of all that is stored, as one number; each value has a version of its own besides.
const FORMAT: &[u8] = &[1];

/// Entries that are counted at a time, so that commits of others are not held up.
const COUNTED: usize = 1_000;

/// Rows that are read at a time.
const ROWS: usize = 64;

/// Opens what `name` left behind. To be called while nobody else has it open.
pub(crate) async fn open(database: Database, name: &EndpointName) -> Result<Endpoint, StoreError> {
    let keys = Keys::of(name);
    // What an earlier store of this endpoint left in the queue must be seen here.
    database.flush().await.map_err(fault::on_commit)?;
    match database.get(&keys.format()).map_err(fault::on_read)? {
        Some(format) if format == FORMAT => {}
        Some(_) => return Err(newer(name)),
        None => {
            let mut batch = Batch::new();
            batch.put(keys.format(), FORMAT);
            database.commit(batch).await.map_err(fault::on_commit)?;
        }
    }
    let mut known = Known::default();
    known.inbox = count(&database, &keys.all_inbox())?;
    known.records = count(&database, &keys.all_records())?;
    read_rows(&database, &keys, &mut known)?;
    Ok(Endpoint::new(database, keys, known))
}

fn read_rows(database: &Database, keys: &Keys, known: &mut Known) -> Result<(), StoreError> {
    let range = Scan::prefix(&keys.all_rows()).limit(ROWS);
    pages(database, &range, |key, value| {
        let Some(id) = keys.parse_id(key) else {
            tracing::error!(key = %key.escape_ascii(), "the id of a pending row can't be read; the row is left as it is");
            return;
        };
        let entry = match stored_row::decode(value) {
            Ok(row) => Entry::of(&row),
            Err(why) => {
                tracing::error!(row = %id, "a pending row can't be read: {why}; it is left as it is");
                Entry::UNREADABLE
            }
        };
        known.index.set(id, Some(entry));
    })
}

fn count(database: &Database, prefix: &[u8]) -> Result<u64, StoreError> {
    let mut count = 0;
    pages(database, &Scan::prefix(prefix).limit(COUNTED), |_, _| count += 1)?;
    Ok(count)
}

fn pages(database: &Database, range: &Scan, mut each: impl FnMut(&[u8], &Bytes)) -> Result<(), StoreError> {
    let mut page = database.scan(range).map_err(fault::on_read)?;
    while let Some((last, _)) = page.last() {
        page.iter().for_each(|(key, value)| each(key, value));
        page = database
            .scan(&range.clone().after(last))
            .map_err(fault::on_read)?;
    }
    Ok(())
}

fn newer(name: &EndpointName) -> StoreError {
    StoreError::new(
        StoreErrorKind::Newer,
        format!(
            "open the store of {name}: a newer version of this library wrote it; go on with that version"
        ),
    )
}
