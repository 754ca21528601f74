//! An endpoint of one saga without its runtime: inbox, records and timeouts in memory, one message at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::codec::{Codec, JsonCodec};
use longhaul_core::envelope::{Envelope, Intent};
use longhaul_core::handler::{HandlerError, HandlerResult, Received};
use longhaul_core::headers::{self, Headers};
use longhaul_core::ids::MessageId;
use longhaul_core::message::Message;
use longhaul_core::outbound::{Outbound, Outgoing, TimeoutRequest};
use longhaul_core::stateful::{Effects, StatefulHandler, Taken, Work};
use longhaul_core::store::{PendingChange, PendingKind, PendingRow, Record, RecordChange, RecordKey};
use longhaul_core::transport::Destination;
use longhaul_sagas::{Saga, SagaParticipant};

/// How long the scenario's endpoint remembers what is finished.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// The endpoint.
#[derive(Debug)]
pub(super) struct Desk<S: Saga> {
    participant: SagaParticipant<S>,
    name: Address,
    codec: Arc<dyn Codec>,
    now: Timestamp,
    inbox: BTreeSet<MessageId>,
    records: BTreeMap<RecordKey, Record>,
    timeouts: Vec<PendingRow>,
}

/// What came of one message.
#[derive(Debug)]
pub(super) struct Handled {
    pub(super) key: Option<String>,
    pub(super) result: HandlerResult<Done>,
}

/// A message that was handled.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) taken: Taken,
    pub(super) sent: Vec<Outgoing>,
    pub(super) wrote: bool,
}

/// What one run of the participant wants committed.
#[derive(Debug, PartialEq)]
struct Wanted {
    taken: Taken,
    sent: Vec<Outgoing>,
    timeouts: Vec<TimeoutRequest>,
    records: Vec<RecordChange>,
    pending: Vec<PendingChange>,
}

impl Wanted {
    fn of(effects: Effects) -> HandlerResult<Self> {
        let (sent, timeouts) = effects.outbound.finish()?;
        Ok(Self {
            taken: effects.taken,
            sent,
            timeouts,
            records: effects.records,
            pending: effects.pending,
        })
    }
}

impl<S: Saga> Desk<S> {
    #[track_caller]
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            participant: checked_participant(),
            name: endpoint_name(),
            codec: Arc::new(JsonCodec::default()),
            now,
            inbox: BTreeSet::new(),
            records: BTreeMap::new(),
            timeouts: Vec::new(),
        }
    }

    #[track_caller]
    pub(super) fn deploy<New: Saga>(&mut self) -> Desk<New> {
        assert_eq!(
            S::NAME,
            New::NAME,
            "a new version of a saga keeps its `NAME`, or it finds nothing stored"
        );
        Desk {
            participant: checked_participant(),
            name: self.name.clone(),
            codec: Arc::clone(&self.codec),
            now: self.now,
            inbox: std::mem::take(&mut self.inbox),
            records: std::mem::take(&mut self.records),
            timeouts: std::mem::take(&mut self.timeouts),
        }
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn advance_to(&mut self, to: Timestamp) {
        self.now = self.now.max(to);
    }

    pub(super) fn timeouts(&self) -> &[PendingRow] {
        &self.timeouts
    }

    pub(super) fn store(&mut self, record: Record) {
        self.records.insert(record.key.clone(), record);
    }

    /// The record of an instance, unless it has expired.
    pub(super) fn record(&self, key: &str) -> Option<&Record> {
        self.find(&RecordKey::new(format!("saga/{}", S::NAME), key))
    }

    fn find(&self, key: &RecordKey) -> Option<&Record> {
        let record = self.records.get(key)?;
        record
            .expires
            .is_none_or(|expires| expires > self.now)
            .then_some(record)
    }

    /// The timeout that fires next, if that is by `until`.
    pub(super) fn next_due(&self, until: Timestamp) -> Option<PendingRow> {
        let due = self
            .timeouts
            .iter()
            .filter(|row| row.due.is_some_and(|due| due <= until));
        due.min_by_key(|row| row.due).cloned()
    }

    /// A message as it would arrive.
    #[track_caller]
    pub(super) fn envelope<M: Message>(
        &self,
        number: u64,
        message: &M,
        intent: Intent,
        more: Headers,
    ) -> Envelope {
        let id = longhaul_core::ids::derived_message_id(&["scenario"], number);
        let body = match longhaul_core::codec::encode(&*self.codec, message) {
            Ok(body) => body,
            Err(fault) => panic!("failed to write {}: {fault}", M::NAME),
        };
        let mut headers = more;
        headers.set(headers::INTENT, intent.as_str());
        headers.set(headers::TYPE, M::NAME);
        headers.set(headers::CONTENT_TYPE, self.codec.content_type());
        headers.set(headers::TIME_SENT, self.now.to_string());
        headers.set(headers::CONVERSATION, id.as_str());
        if headers.get(headers::REPLY_TO).is_none() {
            headers.set(headers::REPLY_TO, "sender");
        }
        Envelope::new(id, headers, body)
    }

    /// Handles a message; one that is known already changes nothing.
    pub(super) fn deliver(&mut self, envelope: Envelope, last_chance: bool) -> Handled {
        if self.inbox.contains(&envelope.id) {
            let done = Done {
                taken: Taken::Ignored("duplicate"),
                sent: Vec::new(),
                wrote: false,
            };
            return Handled {
                key: None,
                result: Ok(done),
            };
        }
        self.handle(envelope, last_chance, None)
    }

    /// Lets a timeout fire.
    pub(super) fn fire(&mut self, row: &PendingRow) -> Handled {
        self.now = self.now.max(row.due.unwrap_or(self.now));
        let handled = self.handle(row.outgoing(), false, Some(row));
        if handled.result.is_ok() {
            self.timeouts.retain(|other| other.id != row.id);
        }
        handled
    }

    fn handle(&mut self, envelope: Envelope, last_chance: bool, row: Option<&PendingRow>) -> Handled {
        let id = envelope.id.clone();
        let received = match self.received(envelope, last_chance) {
            Ok(received) => received,
            Err(error) => {
                return Handled {
                    key: None,
                    result: Err(error),
                };
            }
        };
        let keys = match self.participant.keys(&received) {
            Ok(keys) => keys,
            Err(error) => {
                return Handled {
                    key: None,
                    result: Err(error),
                };
            }
        };
        let key = keys.first().map(|key| key.id.to_string());
        let result = self.run_twice(&received, &keys, row).map(|wanted| {
            if wanted.taken != Taken::Absent {
                self.inbox.insert(id);
            }
            self.commit(wanted)
        });
        Handled { key, result }
    }

    fn received(&self, envelope: Envelope, last_chance: bool) -> HandlerResult<Received> {
        let unreadable =
            |fault: longhaul_core::envelope::Unreadable| HandlerError::unreadable(fault.reason(), fault);
        let intent = envelope.intent().map_err(unreadable)?;
        let type_name = envelope.headers.get(headers::TYPE).unwrap_or_default().to_owned();
        Ok(Received {
            envelope,
            type_name,
            intent,
            endpoint: self.name.clone(),
            now: self.now,
            attempt: 1,
            last_chance,
            retention: RETENTION,
            codec: Arc::clone(&self.codec),
        })
    }

    /// A saga is run again when it lost a race or the process ended, and must want the same again.
    fn run_twice(
        &self,
        received: &Received,
        keys: &[RecordKey],
        row: Option<&PendingRow>,
    ) -> HandlerResult<Wanted> {
        let first = self.run(received, keys, row)?;
        let second = self.run(received, keys, row)?;
        assert!(
            first == second,
            "the saga {:?} is not pure: handling {} twice gave\n{first:#?}\nand then\n{second:#?}",
            S::NAME,
            received.type_name
        );
        Ok(first)
    }

    fn run(
        &self,
        received: &Received,
        keys: &[RecordKey],
        row: Option<&PendingRow>,
    ) -> HandlerResult<Wanted> {
        let records: Vec<Option<Record>> = keys.iter().map(|key| self.find(key).cloned()).collect();
        let outbound = self.outbound(received.envelope.id.clone());
        let effects = self.participant.handle(
            received,
            Work {
                records: &records,
                timeout: row,
                outbound,
            },
        )?;
        Wanted::of(effects)
    }

    /// Records what is sent because of that message.
    pub(super) fn outbound(&self, cause: MessageId) -> Outbound {
        let participant = Arc::from(self.participant.name());
        Outbound::new(cause, self.name.clone(), participant, Arc::clone(&self.codec))
    }

    /// Commits what an operator wants.
    pub(super) fn operate(&mut self, effects: Effects) -> HandlerResult<Done> {
        Ok(self.commit(Wanted::of(effects)?))
    }

    fn commit(&mut self, wanted: Wanted) -> Done {
        let wrote = !wanted.records.is_empty();
        for change in wanted.records {
            self.change(change);
        }
        for change in wanted.pending {
            match change {
                PendingChange::Cancel(id) => self.timeouts.retain(|row| row.id != id),
                PendingChange::Move { id, due, .. } => {
                    let row = self.timeouts.iter_mut().find(|row| row.id == id);
                    let Some(row) = row else {
                        panic!("the saga moved a timeout that is not pending: {id}")
                    };
                    row.due = Some(due);
                    row.token += 1;
                }
                other => panic!("a saga can't want {other:?}"),
            }
        }
        for request in wanted.timeouts {
            self.timeouts.push(self.row(request));
        }
        Done {
            taken: wanted.taken,
            sent: wanted.sent,
            wrote,
        }
    }

    fn change(&mut self, change: RecordChange) {
        let (key, expected) = match &change {
            RecordChange::Put { key, expected, .. } => (key.clone(), *expected),
            RecordChange::Delete { key, expected } => (key.clone(), Some(*expected)),
        };
        let found = self.find(&key).map(|record| record.version);
        assert_eq!(found, expected, "the saga expected another version of {key:?}");
        match change {
            RecordChange::Put {
                key,
                expected,
                body,
                expires,
            } => {
                let version = expected.unwrap_or(0) + 1;
                self.records.insert(
                    key.clone(),
                    Record {
                        key,
                        version,
                        body,
                        expires,
                    },
                );
            }
            RecordChange::Delete { key, .. } => {
                self.records.remove(&key);
            }
        }
    }

    fn row(&self, request: TimeoutRequest) -> PendingRow {
        let mut headers = request.headers;
        headers.set(headers::INTENT, Intent::Timeout.as_str());
        headers.set(headers::TYPE, request.type_name.into_owned());
        headers.set(headers::CONTENT_TYPE, self.codec.content_type());
        headers.set(headers::REPLY_TO, self.name.as_str());
        PendingRow {
            envelope: Envelope::new(request.id.clone(), headers, request.body),
            id: request.id,
            kind: PendingKind::Timeout,
            owner: Some(request.owner),
            name: request.name,
            to: Destination::Queue(self.name.clone()),
            due: Some(request.due),
            attention: request.due,
            token: 0,
            alarm_sent: false,
            parked: None,
        }
    }
}

#[track_caller]
fn checked_participant<S: Saga>() -> SagaParticipant<S> {
    let participant = SagaParticipant::new();
    let faults = participant.faults();
    assert!(
        faults.is_empty(),
        "the definition of the saga {:?} has faults:\n  {}",
        S::NAME,
        faults.join("\n  ")
    );
    participant
}

fn endpoint_name() -> Address {
    match Address::new("scenario") {
        Ok(name) => name,
        Err(fault) => panic!("failed to {fault}"),
    }
}
