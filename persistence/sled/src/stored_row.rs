//! A pending row as it is stored.

use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{PendingKind, PendingRow, RecordKey};
use longhaul_core::transport::Destination;
use serde::{Deserialize, Serialize};

use crate::seal::{FORMAT, Unreadable, seal, unseal};

/// Fields are read in this order: a change of them is another format.
#[derive(Debug, Serialize, Deserialize)]
struct StoredRow {
    id: String,
    kind: StoredKind,
    owner: Option<(String, String)>,
    name: String,
    message: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    to: StoredDestination,
    due: Option<i64>,
    attention: i64,
    token: u64,
    alarm_sent: bool,
    parked: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
enum StoredKind {
    Message,
    Timeout,
}

#[derive(Debug, Serialize, Deserialize)]
enum StoredDestination {
    Queue(String),
    Subscribers(String),
}

/// The row as bytes.
pub(crate) fn encode(row: &PendingRow) -> Result<Bytes, postcard::Error> {
    let mut bytes = Vec::with_capacity(row.envelope.body.len() + 256);
    bytes.push(FORMAT);
    postcard::to_extend(&StoredRow::from(row), bytes).map(seal)
}

/// The bytes as a row.
pub(crate) fn decode(value: &Bytes) -> Result<PendingRow, Unreadable> {
    let bytes = unseal(value)?;
    let (row, rest) = postcard::take_from_bytes::<StoredRow>(&bytes).map_err(|_| Unreadable::Damaged)?;
    if !rest.is_empty() {
        return Err(Unreadable::Damaged);
    }
    row.restore().ok_or(Unreadable::Damaged)
}

impl From<&PendingRow> for StoredRow {
    fn from(row: &PendingRow) -> Self {
        let owner = row.owner.as_ref();
        let headers = row.envelope.headers.iter();
        Self {
            id: row.id.to_string(),
            kind: match row.kind {
                PendingKind::Message => StoredKind::Message,
                PendingKind::Timeout => StoredKind::Timeout,
            },
            owner: owner.map(|key| (key.collection.to_string(), key.id.to_string())),
            name: row.name.clone(),
            message: row.envelope.id.to_string(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: row.envelope.body.clone(),
            to: match &row.to {
                Destination::Queue(address) => StoredDestination::Queue(address.to_string()),
                Destination::Subscribers(event) => StoredDestination::Subscribers(event.clone()),
            },
            due: row.due.map(Timestamp::as_micros),
            attention: row.attention.as_micros(),
            token: row.token,
            alarm_sent: row.alarm_sent,
            parked: row.parked.clone(),
        }
    }
}

impl StoredRow {
    fn restore(self) -> Option<PendingRow> {
        let headers = self.headers.into_iter().collect();
        Some(PendingRow {
            id: MessageId::new(self.id).ok()?,
            kind: match self.kind {
                StoredKind::Message => PendingKind::Message,
                StoredKind::Timeout => PendingKind::Timeout,
            },
            owner: self.owner.map(|(collection, id)| RecordKey::new(collection, id)),
            name: self.name,
            envelope: Envelope::new(MessageId::new(self.message).ok()?, headers, self.body),
            to: match self.to {
                StoredDestination::Queue(address) => Destination::Queue(Address::new(address).ok()?),
                StoredDestination::Subscribers(event) => Destination::Subscribers(event),
            },
            due: self.due.map(Timestamp::from_micros),
            attention: Timestamp::from_micros(self.attention),
            token: self.token,
            alarm_sent: self.alarm_sent,
            parked: self.parked,
        })
    }
}
