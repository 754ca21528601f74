//! What is said over the socket. Nothing but this is understood.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::admin::{Found, Place, QueueDepth};
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::{self, Envelope, Incoming};
use longhaul_core::ids::MessageId;
use longhaul_core::limits::Limits;
use longhaul_core::store::{PendingKind, PendingRow, Record, RecordKey};
use longhaul_core::transport::{Accepted, Destination, Dispatch};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// The version of all of this; both sides must have the same.
pub(crate) const VERSION: u32 = 2;

/// Whatever lies in a queue can be passed on, however large.
const LIMITS: Limits = Limits {
    headers: 10_000,
    header_bytes: 1 << 20,
    body_bytes: usize::MAX,
    json_depth: 64,
};

/// What an operator asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// First of all: which version is spoken?
    Hello { version: u32 },
    /// The queues there are.
    Queues { limit: usize },
    /// How deep a queue is.
    Depth { queue: Address },
    /// Begin to look through a queue; a look before that is over.
    LookThrough { queue: Address },
    /// The next messages of the look.
    Next { limit: usize },
    /// Take out what the look has shown.
    Remove { places: Vec<u64> },
    /// End the look.
    Close,
    /// Send messages.
    Dispatch { batch: Vec<WireDispatch> },
    /// Whether something is stored of an endpoint.
    Has { endpoint: Address },
    /// One record of an endpoint, as it was if expired.
    Record {
        endpoint: Address,
        collection: String,
        id: String,
    },
    /// Records of an endpoint, by id.
    Records {
        endpoint: Address,
        collection: String,
        after: Option<String>,
        limit: usize,
    },
    /// Pending rows of an endpoint, in their order.
    Pending {
        endpoint: Address,
        after: Option<WirePlace>,
        limit: usize,
    },
    /// Take a timeout away; whoever asked for it becomes `owner`, of the version that it has now.
    Cancel {
        endpoint: Address,
        id: MessageId,
        owner: Option<WireRecord>,
    },
    /// Give a timeout another time; whoever asked for it becomes `owner`, of the version that it has now.
    Move {
        endpoint: Address,
        id: MessageId,
        due: Timestamp,
        owner: Option<WireRecord>,
    },
}

/// What the endpoint's process answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Answer {
    Hello {
        version: u32,
        process: u32,
        max_delay_ms: u64,
        max_body: usize,
    },
    Queues {
        queues: Option<Vec<Address>>,
    },
    Depth {
        ready: u64,
        unsettled: Option<u64>,
        delayed: Option<u64>,
        consumers: Option<u64>,
    },
    Has {
        has: Option<bool>,
    },
    Look {
        expected: u64,
    },
    Found {
        messages: Vec<WireFound>,
    },
    Sent {
        results: Vec<Result<bool, Fault>>,
    },
    Records {
        records: Vec<WireRecord>,
    },
    Rows {
        rows: Vec<WireRow>,
    },
    Done,
    Failed(Fault),
}

/// A message to be sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireDispatch {
    message: longhaul_record::Record,
    to: Destination,
    due: Option<Timestamp>,
}

/// A message that a look shows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireFound {
    message: longhaul_record::Record,
    redeliveries: u32,
    place: u64,
}

/// A record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireRecord {
    collection: String,
    id: String,
    version: u64,
    body: String,
    expires: Option<Timestamp>,
}

/// Where a pending row stands.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WirePlace {
    id: MessageId,
    attention: Timestamp,
    is_parked: bool,
}

/// A pending row.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireRow {
    id: MessageId,
    is_timeout: bool,
    owner: Option<(String, String)>,
    name: String,
    message: longhaul_record::Record,
    to: Destination,
    due: Option<Timestamp>,
    attention: Timestamp,
    token: u64,
    alarm_sent: bool,
    parked: Option<String>,
}

fn message_of(envelope: &Envelope) -> longhaul_record::Record {
    longhaul_record::Record::of(&Incoming::from(envelope.clone()))
}

fn envelope_of(message: longhaul_record::Record) -> Result<Envelope, Fault> {
    let incoming = message
        .into_incoming()
        .map_err(|error| Fault::socket(error.to_string()))?;
    envelope::read(&incoming, &LIMITS).map_err(|error| Fault::socket(error.to_string()))
}

impl WireDispatch {
    pub(crate) fn of(dispatch: &Dispatch) -> Self {
        Self {
            message: message_of(&dispatch.envelope),
            to: dispatch.to.clone(),
            due: dispatch.due,
        }
    }

    pub(crate) fn into_dispatch(self) -> Result<Dispatch, Fault> {
        Ok(Dispatch {
            envelope: envelope_of(self.message)?,
            to: self.to,
            due: self.due,
        })
    }
}

impl WireFound {
    pub(crate) fn of(found: &Found) -> Self {
        Self {
            message: longhaul_record::Record::of(&found.incoming),
            redeliveries: found.redeliveries,
            place: found.place.0,
        }
    }

    pub(crate) fn into_found(self) -> Result<Found, Fault> {
        let incoming = self.message.into_incoming();
        Ok(Found {
            incoming: incoming.map_err(|error| Fault::socket(error.to_string()))?,
            redeliveries: self.redeliveries,
            place: Place(self.place),
            // What is delayed does not show in a queue of the embedded broker.
            waits: None,
        })
    }
}

impl WireRecord {
    pub(crate) fn of(record: &Record) -> Self {
        Self {
            collection: record.key.collection.to_string(),
            id: record.key.id.to_string(),
            version: record.version,
            body: BASE64_STANDARD.encode(&record.body),
            expires: record.expires,
        }
    }

    pub(crate) fn into_record(self) -> Result<Record, Fault> {
        let body = BASE64_STANDARD.decode(self.body);
        Ok(Record {
            key: RecordKey::new(self.collection, self.id),
            version: self.version,
            body: Bytes::from(body.map_err(|error| Fault::socket(error.to_string()))?),
            expires: self.expires,
        })
    }
}

impl WirePlace {
    pub(crate) fn of(row: &PendingRow) -> Self {
        Self {
            id: row.id.clone(),
            attention: row.attention,
            is_parked: row.parked.is_some(),
        }
    }

    /// A row at that place, for listings to go on after; nothing else of it is meant.
    pub(crate) fn into_row(self) -> PendingRow {
        let envelope = Envelope::new(
            self.id.clone(),
            longhaul_core::headers::Headers::new(),
            Bytes::new(),
        );
        PendingRow {
            id: self.id,
            kind: PendingKind::Message,
            owner: None,
            name: String::new(),
            envelope,
            to: Destination::Subscribers(String::new()),
            due: None,
            attention: self.attention,
            token: 0,
            alarm_sent: false,
            parked: self.is_parked.then(String::new),
        }
    }
}

impl WireRow {
    pub(crate) fn of(row: &PendingRow) -> Self {
        let owner = row.owner.as_ref();
        Self {
            id: row.id.clone(),
            is_timeout: row.kind == PendingKind::Timeout,
            owner: owner.map(|owner| (owner.collection.to_string(), owner.id.to_string())),
            name: row.name.clone(),
            message: message_of(&row.envelope),
            to: row.to.clone(),
            due: row.due,
            attention: row.attention,
            token: row.token,
            alarm_sent: row.alarm_sent,
            parked: row.parked.clone(),
        }
    }

    pub(crate) fn into_row(self) -> Result<PendingRow, Fault> {
        Ok(PendingRow {
            id: self.id,
            kind: match self.is_timeout {
                true => PendingKind::Timeout,
                false => PendingKind::Message,
            },
            owner: self.owner.map(|(collection, id)| RecordKey::new(collection, id)),
            name: self.name,
            envelope: envelope_of(self.message)?,
            to: self.to,
            due: self.due,
            attention: self.attention,
            token: self.token,
            alarm_sent: self.alarm_sent,
            parked: self.parked,
        })
    }
}

impl Answer {
    pub(crate) fn depth(depth: QueueDepth) -> Self {
        let QueueDepth {
            ready,
            unsettled,
            delayed,
            consumers,
        } = depth;
        Self::Depth {
            ready,
            unsettled,
            delayed,
            consumers,
        }
    }
}

pub(crate) const fn accepted(is_queued: bool) -> Accepted {
    match is_queued {
        true => Accepted::Queued,
        false => Accepted::NoSubscribers,
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_something_else_is_said_it_is_not_understood() {
        for said in [
            "{}",
            "\"drop-everything\"",
            r#"{"hello":{}}"#,
            r#"{"hello":{"version":1,"more":1}}"#,
            r#"{"commit":{"endpoint":"sales"}}"#,
            r#"{"depth":{"queue":"sales.#"}}"#,
        ] {
            assert!(serde_json::from_str::<Request>(said).is_err(), "{said}");
        }
        assert!(serde_json::from_str::<Request>(r#"{"hello":{"version":1}}"#).is_ok());
        assert!(serde_json::from_str::<Request>("\"close\"").is_ok());
    }
}
