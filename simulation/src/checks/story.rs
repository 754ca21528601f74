//! Traces made by hand, to show to the rules.

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::{self, Headers};
use longhaul_core::ids::MessageId;
use longhaul_core::store::{
    InboxChange, InboxState, PendingChange, PendingKind, PendingRow, RecordChange, RecordKey, UnitOfWork,
};
use longhaul_core::transport::{Destination, TransportErrorKind};

use crate::trace::{Event, Member, Role, Trace, What};

pub(crate) const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// A trace of one endpoint with a store, `sales`, a second per event.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    trace: Trace,
    /// How much time passes before the next event, beyond a second.
    pause: Duration,
}

impl Story {
    pub(crate) fn new() -> Self {
        let member = Member {
            name: sales(),
            role: Role::Stored,
        };
        Self {
            trace: Trace {
                members: vec![member],
                ..Trace::default()
            },
            pause: Duration::ZERO,
        }
    }

    /// One message with one output, as it should be.
    pub(crate) fn good() -> Self {
        Self::new()
            .taken_by_another(message("m"))
            .commit(unit([done("m")], [put("7", None)], [add("out", "m")]), 0)
            .acknowledge(message("m"))
            .taken(message_with("out", headers::CAUSATION, "m"))
            .confirmed("out")
            .commit(unit([], [], [PendingChange::Sent(id("out"))]), 1)
            .commit(unit([done("out")], [], []), 2)
    }

    pub(crate) fn trace(self) -> Trace {
        self.trace
    }

    /// When the next event happens.
    fn now(&self) -> Timestamp {
        let last = self.trace.events.last().map_or(START, |event| event.at);
        last + Duration::from_secs(1) + self.pause
    }

    fn note(mut self, process: usize, what: What) -> Self {
        let at = self.now();
        self.pause = Duration::ZERO;
        self.trace.events.push(Event { at, process, what });
        self
    }

    /// So much time passes.
    pub(crate) fn after(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Something is wrong for a moment.
    pub(crate) fn disturbed(self) -> Self {
        let until = self.now();
        self.note(0, What::Disturbed { until })
    }

    pub(crate) fn commit(self, work: UnitOfWork, index: usize) -> Self {
        self.commit_lasting_after(work, index, Duration::ZERO)
    }

    /// It does not last before the story is over.
    pub(crate) fn slow_commit(self, work: UnitOfWork, index: usize) -> Self {
        self.commit_lasting_after(work, index, Duration::from_secs(3600))
    }

    fn commit_lasting_after(self, work: UnitOfWork, index: usize, after: Duration) -> Self {
        let now = self.now();
        let committed = What::Committed {
            unit: Arc::new(work),
            local: now,
            durable: now + after,
            index,
        };
        self.note(0, committed)
    }

    pub(crate) fn lose(self, from: usize) -> Self {
        self.note(0, What::Lost { from })
    }

    pub(crate) fn acknowledge(self, envelope: Envelope) -> Self {
        let acknowledged = What::Acknowledged {
            queue: sales(),
            envelope: Arc::new(envelope),
            tag: 1,
        };
        self.note(0, acknowledged)
    }

    pub(crate) fn taken(self, envelope: Envelope) -> Self {
        self.note(0, taken(envelope))
    }

    /// The broker takes it into another queue.
    pub(crate) fn taken_into(self, queue: &str, envelope: Envelope) -> Self {
        let queue = Some(Address::new(queue).expect("a name"));
        let taken = What::Taken {
            envelope: Arc::new(envelope),
            queue,
            due: None,
            local: START,
        };
        self.note(0, taken)
    }

    pub(crate) fn given_up(self, queue: &str, envelope: Envelope) -> Self {
        let given_up = What::DeliveredTooOften {
            queue: Address::new(queue).expect("a name"),
            envelope: Arc::new(envelope),
        };
        self.note(0, given_up)
    }

    pub(crate) fn replayed(self, envelope: Envelope) -> Self {
        let replayed = What::Replayed {
            queue: sales(),
            envelope: Arc::new(envelope),
        };
        self.note(0, replayed)
    }

    pub(crate) fn discarded(self, envelope: Envelope) -> Self {
        let discarded = What::Discarded {
            queue: sales(),
            envelope: Arc::new(envelope),
        };
        self.note(0, discarded)
    }

    pub(crate) fn refused(self, text: &str, kind: TransportErrorKind) -> Self {
        self.note(0, What::Refused { id: id(text), kind })
    }

    /// It is taken to be there at `due` by a clock that shows `local`, and is delivered with the next event.
    pub(crate) fn delivered(self, envelope: Envelope, due: Option<Timestamp>, after: Duration) -> Self {
        let envelope = Arc::new(envelope);
        let local = self.now();
        let taken = What::Taken {
            envelope: Arc::clone(&envelope),
            queue: Some(sales()),
            due,
            local,
        };
        let delivered = What::Delivered {
            queue: sales(),
            envelope,
            tag: 1,
        };
        self.note(0, taken).after(after).note(0, delivered)
    }

    /// The broker takes it, to come at `due`, by a clock that is right.
    pub(crate) fn taken_until(self, envelope: &Arc<Envelope>, due: Timestamp) -> Self {
        let local = self.now();
        let taken = What::Taken {
            envelope: Arc::clone(envelope),
            queue: Some(sales()),
            due: Some(due),
            local,
        };
        self.note(0, taken)
    }

    /// The broker hands it out.
    pub(crate) fn handed_out(self, envelope: &Arc<Envelope>) -> Self {
        let delivered = What::Delivered {
            queue: sales(),
            envelope: Arc::clone(envelope),
            tag: 1,
        };
        self.note(0, delivered)
    }

    pub(crate) fn taken_by_another(mut self, envelope: Envelope) -> Self {
        self.trace.members.push(Member {
            name: sales(),
            role: Role::Client,
        });
        self.note(1, taken(envelope))
    }

    pub(crate) fn confirmed(self, text: &str) -> Self {
        self.note(0, What::Confirmed(id(text)))
    }
}

pub(crate) fn sales() -> Address {
    Address::new("sales").expect("a name")
}

fn taken(envelope: Envelope) -> What {
    What::Taken {
        envelope: Arc::new(envelope),
        queue: Some(sales()),
        due: None,
        local: START,
    }
}

pub(crate) fn id(text: &str) -> MessageId {
    MessageId::new(text).expect("an id")
}

pub(crate) fn message(text: &str) -> Envelope {
    Envelope::new(id(text), Headers::new(), "[]".into())
}

pub(crate) fn message_with(text: &str, name: &'static str, value: &str) -> Envelope {
    let mut envelope = message(text);
    envelope.headers.set(name, value);
    envelope
}

pub(crate) fn unit<const I: usize, const R: usize, const P: usize>(
    inbox: [InboxChange; I],
    records: [RecordChange; R],
    pending: [PendingChange; P],
) -> UnitOfWork {
    UnitOfWork {
        inbox: inbox.into(),
        records: records.into(),
        pending: pending.into(),
    }
}

pub(crate) fn done(text: &str) -> InboxChange {
    change(text, InboxState::Done)
}

pub(crate) fn started(text: &str, generation: u32) -> InboxChange {
    let state = InboxState::Started {
        generation,
        attempts: 1,
        times: 1,
        since: START,
    };
    change(text, state)
}

pub(crate) fn failed_for_good(text: &str) -> InboxChange {
    change(text, InboxState::Failed { attempts: 1 })
}

pub(crate) fn forgotten(text: &str) -> InboxChange {
    InboxChange {
        next: None,
        ..done(text)
    }
}

pub(crate) fn scheduled(text: &str, generation: u32, attempts: u32) -> InboxChange {
    let state = InboxState::Scheduled {
        generation,
        attempts,
        since: START,
    };
    change(text, state)
}

fn change(text: &str, next: InboxState) -> InboxChange {
    InboxChange {
        id: id(text),
        expected: None,
        next: Some(next),
        at: START,
    }
}

pub(crate) fn put(key: &str, expected: Option<u64>) -> RecordChange {
    RecordChange::Put {
        key: RecordKey::new("saga/order", key),
        expected,
        body: "{}".into(),
        expires: None,
    }
}

pub(crate) fn row(text: &str, cause: &str) -> PendingRow {
    let mut envelope = message_with(text, headers::CAUSATION, cause);
    envelope.headers.set(headers::CONVERSATION, cause);
    PendingRow {
        id: id(text),
        kind: PendingKind::Message,
        owner: None,
        name: String::new(),
        envelope,
        to: Destination::Queue(sales()),
        due: None,
        attention: START,
        token: 0,
        alarm_sent: false,
        parked: None,
    }
}

pub(crate) fn add(text: &str, cause: &str) -> PendingChange {
    PendingChange::Add(Box::new(row(text, cause)))
}
