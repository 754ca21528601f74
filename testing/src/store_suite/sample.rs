//! What the cases store: times, ids, rows and units.

use std::time::Duration;

use bytes::Bytes;
use longhaul_core::address::{Address, EndpointName};
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::{self, Headers};
use longhaul_core::ids::MessageId;
use longhaul_core::store::{
    InboxChange, InboxState, PendingChange, PendingKind, PendingRow, RecordChange, RecordKey, UnitOfWork,
};
use longhaul_core::transport::Destination;

/// How long a claim holds, where a case does not care.
pub(super) const LEASE: Duration = Duration::from_secs(60);

/// So many seconds after a time long past.
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000) + Duration::from_secs(seconds)
}

pub(super) fn id(text: impl AsRef<str>) -> MessageId {
    MessageId::new(text).unwrap_or_else(|fault| panic!("{fault}"))
}

pub(super) fn address(text: impl AsRef<str>) -> Address {
    Address::new(text).unwrap_or_else(|fault| panic!("{fault}"))
}

pub(super) fn endpoint(text: impl AsRef<str>) -> EndpointName {
    address(text)
}

pub(super) fn key(id: impl AsRef<str>) -> RecordKey {
    RecordKey::new("order", id)
}

/// An ordinary message that wants to be sent at `attention`.
pub(super) fn message(name: impl AsRef<str>, attention: Timestamp) -> PendingRow {
    let id = id(name);
    let mut headers = Headers::new();
    headers.set(headers::INTENT, "send");
    headers.set("tenant", "acme \u{1f69a}");
    PendingRow {
        envelope: Envelope::new(id.clone(), headers, Bytes::from_static(b"{\"order\":7}")),
        id,
        kind: PendingKind::Message,
        owner: None,
        name: String::new(),
        to: Destination::Queue(address("billing")),
        due: None,
        attention,
        token: 0,
        alarm_sent: false,
        parked: None,
    }
}

/// A timeout that is due at `due`, to be looked at right away.
pub(super) fn timeout(name: impl AsRef<str>, attention: Timestamp, due: Timestamp) -> PendingRow {
    PendingRow {
        kind: PendingKind::Timeout,
        owner: Some(key("7")),
        name: "payment overdue".to_owned(),
        due: Some(due),
        token: 1,
        ..message(name, attention)
    }
}

/// A unit of work, put together step by step.
#[derive(Debug, Clone, Default)]
pub(super) struct Unit(pub(super) UnitOfWork);

impl Unit {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn inbox(
        mut self,
        name: impl AsRef<str>,
        expected: Option<InboxState>,
        next: Option<InboxState>,
        at: Timestamp,
    ) -> Self {
        self.0.inbox.push(InboxChange {
            id: id(name),
            expected,
            next,
            at,
        });
        self
    }

    /// An unknown message becomes done, at the time zero.
    pub(super) fn done(self, name: impl AsRef<str>) -> Self {
        self.inbox(name, None, Some(InboxState::Done), at(0))
    }

    pub(super) fn put(self, id: impl AsRef<str>, expected: Option<u64>, body: impl Into<Bytes>) -> Self {
        self.put_until(id, expected, body, None)
    }

    pub(super) fn put_until(
        self,
        id: impl AsRef<str>,
        expected: Option<u64>,
        body: impl Into<Bytes>,
        expires: Option<Timestamp>,
    ) -> Self {
        self.record(RecordChange::Put {
            key: key(id),
            expected,
            body: body.into(),
            expires,
        })
    }

    pub(super) fn delete(self, id: impl AsRef<str>, expected: u64) -> Self {
        self.record(RecordChange::Delete {
            key: key(id),
            expected,
        })
    }

    pub(super) fn record(mut self, change: RecordChange) -> Self {
        self.0.records.push(change);
        self
    }

    pub(super) fn add(self, row: PendingRow) -> Self {
        self.pending(PendingChange::Add(Box::new(row)))
    }

    pub(super) fn sent(self, name: impl AsRef<str>) -> Self {
        self.pending(PendingChange::Sent(id(name)))
    }

    pub(super) fn alarm_sent(self, name: impl AsRef<str>, token: u64, attention: Timestamp) -> Self {
        self.pending(PendingChange::AlarmSent {
            id: id(name),
            token,
            attention,
        })
    }

    pub(super) fn defer(self, name: impl AsRef<str>, attention: Timestamp) -> Self {
        self.pending(PendingChange::Defer {
            id: id(name),
            token: None,
            attention,
        })
    }

    pub(super) fn defer_if(self, name: impl AsRef<str>, token: u64, attention: Timestamp) -> Self {
        self.pending(PendingChange::Defer {
            id: id(name),
            token: Some(token),
            attention,
        })
    }

    pub(super) fn fire(self, name: impl AsRef<str>, token: u64) -> Self {
        self.pending(PendingChange::Fire { id: id(name), token })
    }

    pub(super) fn cancel(self, name: impl AsRef<str>) -> Self {
        self.pending(PendingChange::Cancel(id(name)))
    }

    pub(super) fn move_to(self, name: impl AsRef<str>, due: Timestamp, attention: Timestamp) -> Self {
        self.pending(PendingChange::Move {
            id: id(name),
            due,
            attention,
        })
    }

    pub(super) fn park(self, name: impl AsRef<str>, reason: &str) -> Self {
        self.pending(PendingChange::Park {
            id: id(name),
            token: None,
            reason: reason.to_owned(),
        })
    }

    pub(super) fn park_if(self, name: impl AsRef<str>, token: u64, reason: &str) -> Self {
        self.pending(PendingChange::Park {
            id: id(name),
            token: Some(token),
            reason: reason.to_owned(),
        })
    }

    pub(super) fn pending(mut self, change: PendingChange) -> Self {
        self.0.pending.push(change);
        self
    }
}
