//! Records of the stateful handlers: JSON under the number of an order or an account.

use longhaul::handler::HandlerResult;
use longhaul::store::{Record, RecordChange, RecordKey};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What shipping was asked for, by order.
pub(crate) const DESK: &str = "desk";
/// The outcomes of an order.
pub(crate) const OUTCOMES: &str = "outcomes";
/// What the accounts hold.
pub(crate) const ACCOUNTS: &str = "accounts";
/// Where the saga of sales keeps its instances.
pub(crate) const SAGAS: &str = "saga/order";

pub(crate) fn key(collection: &str, number: u64) -> RecordKey {
    RecordKey::new(collection, number.to_string())
}

/// What is in the record; the default where there is none.
pub(crate) fn read<T: DeserializeOwned + Default>(found: Option<&Option<Record>>) -> HandlerResult<T> {
    match found.and_then(Option::as_ref) {
        Some(record) => Ok(serde_json::from_slice(&record.body)?),
        None => Ok(T::default()),
    }
}

pub(crate) fn put<T: Serialize>(
    key: &RecordKey,
    found: Option<&Option<Record>>,
    content: &T,
) -> HandlerResult<RecordChange> {
    Ok(RecordChange::Put {
        key: key.clone(),
        expected: found.and_then(Option::as_ref).map(|record| record.version),
        body: serde_json::to_vec(content)?.into(),
        expires: None,
    })
}
