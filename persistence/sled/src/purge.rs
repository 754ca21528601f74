//! Forgetting what is old: messages done long ago, and records that have expired.
//!
//! What to look at is found in the order of time. An entry there may be out of date, because the message or record
//! was changed since: then only the entry goes.

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::store::{InboxState, StoreError, StoreErrorKind};
use longhaul_embedded::{Check, Scan};

use crate::draft::Draft;
use crate::endpoint::Endpoint;
use crate::fault;
use crate::in_flight::Touched;
use crate::stored_inbox;
use crate::stored_record::StoredRecord;

/// The most entries that one unit removes, so that what is committed meanwhile is not held up.
const STEP: usize = 256;

/// Where a unit of that many bytes ends: what is compared with a record counts, and records can be large.
const STEP_BYTES: usize = 1 << 20;

/// Forgets messages that were done before `before`, at most `limit`.
pub(crate) async fn messages(
    endpoint: &Endpoint,
    before: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let keys = &endpoint.keys;
    let range = Scan::prefix(&keys.all_done()).up_to(&keys.done_before(before));
    in_steps(endpoint, range, limit, |draft, entry| {
        let Some((at, id)) = keys.parse_done(entry) else {
            return Ok(false);
        };
        let place = keys.inbox(&id);
        let value = endpoint.database.get(&place).map_err(fault::on_read)?;
        let goes = value
            .as_ref()
            .is_some_and(|value| stored_inbox::decode(value) == Ok((InboxState::Done, at)));
        draft.batch.check(still(place.clone(), value));
        if goes {
            draft.batch.delete(place);
            draft.effects.inbox -= 1;
        }
        Ok(goes)
    })
    .await
}

/// Removes records that have expired at `now`, at most `limit`.
pub(crate) async fn records(endpoint: &Endpoint, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
    let keys = &endpoint.keys;
    let range = Scan::prefix(&keys.all_expiries()).up_to(&keys.expired_at(now));
    in_steps(endpoint, range, limit, |draft, entry| {
        let Some((expires, key)) = keys.parse_expiry(entry) else {
            return Ok(false);
        };
        let place = keys.record(&key);
        let value = endpoint.database.get(&place).map_err(fault::on_read)?;
        let record = value.as_ref().and_then(|value| StoredRecord::decode(value).ok());
        let goes = record.is_some_and(|record| record.expires == Some(expires));
        draft.batch.check(still(place.clone(), value));
        if goes {
            draft.batch.delete(place);
            draft.effects.records -= 1;
            draft.touched.push(Touched::Record(key));
        }
        Ok(goes)
    })
    .await
}

/// Removes the entries of `range`, and with each what `remove` adds to the unit, until `limit` have gone.
async fn in_steps(
    endpoint: &Endpoint,
    mut range: Scan,
    limit: usize,
    remove: impl Fn(&mut Draft, &[u8]) -> Result<bool, StoreError>,
) -> Result<usize, StoreError> {
    let mut gone = 0;
    while gone < limit {
        let page = range.clone().limit(STEP.min(limit - gone));
        let page = endpoint.database.scan(&page).map_err(fault::on_read)?;
        let Some((last, _)) = page.last() else {
            break;
        };
        let step = || {
            let (mut draft, mut count, mut done) = (Draft::default(), 0, last);
            for (entry, _) in &page {
                count += usize::from(remove(&mut draft, entry)?);
                draft.batch.delete(entry.clone());
                if draft.batch.bytes() >= STEP_BYTES {
                    done = entry;
                    break;
                }
            }
            Ok((draft, (count, done)))
        };
        match endpoint.commit_with(step).await {
            Ok((count, done)) => {
                gone += count;
                range = range.after(done);
            }
            // Something was changed meanwhile: the next purge finds it again.
            Err(error) if error.kind() == StoreErrorKind::Conflict => range = range.after(last),
            Err(error) => return Err(error),
        }
    }
    Ok(gone)
}

fn still(place: Bytes, value: Option<Bytes>) -> Check {
    match value {
        Some(value) => Check::Equals(place, value),
        None => Check::Absent(place),
    }
}
