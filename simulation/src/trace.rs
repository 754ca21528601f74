//! What happened in one schedule, event by event: what the checkers read and people see.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::ids::MessageId;
use longhaul_core::probe::{CrashPoint, Moment};
use longhaul_core::store::UnitOfWork;

use crate::outside::Call;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Makes the requests, and never fails.
    Client,
    /// An endpoint with a store.
    Stored,
    /// An endpoint without one.
    Storeless,
}

/// One process of the world, through all its restarts.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: Address,
    pub(crate) role: Role,
}

/// Everything that happened, and at the end, what was left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    pub(crate) members: Vec<Member>,
    pub(crate) events: Vec<Event>,
    /// What the error queue holds.
    pub(crate) failed: Vec<Arc<Envelope>>,
    /// Whether everything came to rest in time; else, what did not.
    pub(crate) unsettled: Option<String>,
    /// What the stores know at the end.
    pub(crate) known: BTreeMap<Address, Known>,
}

/// What a store knows at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// Rows set aside for people, by the id of what they send.
    pub(crate) parked: Vec<MessageId>,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// In the world's time.
    pub(crate) at: Timestamp,
    /// To whom; the place in [`Trace::members`].
    pub(crate) process: usize,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    /// The process starts.
    Started,
    /// The process ends at once.
    Crashed(Option<(CrashPoint, Moment)>),
    /// The process ends by itself, with an error or because it was asked to.
    Ended(Option<String>),
    /// The client was told that its request is taken.
    Accepted(MessageId),
    /// The broker has a message, in so many queues.
    Taken {
        envelope: Arc<Envelope>,
        /// `None` for an event that nobody subscribes to.
        queue: Option<Address>,
        due: Option<Timestamp>,
    },
    /// The process was told that the broker has it.
    Confirmed(MessageId),
    /// The process gets a message.
    Delivered {
        queue: Address,
        envelope: Arc<Envelope>,
        tag: u64,
    },
    /// The broker forgets a message; `queue` as it was delivered.
    Acknowledged {
        queue: Address,
        envelope: Arc<Envelope>,
        tag: u64,
    },
    /// The process gives a message back.
    Released { envelope: Arc<Envelope> },
    /// The process lost the right to settle a message.
    LeaseLost { envelope: Arc<Envelope> },
    /// The broker gave a message up after too many deliveries.
    DeliveredTooOften { envelope: Arc<Envelope> },
    /// A unit was committed, and lasts from that time on.
    Committed {
        unit: Arc<UnitOfWork>,
        /// What the clock of the process showed.
        local: Timestamp,
        durable: Timestamp,
        /// How many units the store had before.
        index: usize,
    },
    /// The process ended while units were in danger: those from this one on are gone, and those before it last.
    Lost { from: usize },
    /// A third party did something.
    Called(Call),
    /// Something of the world went wrong.
    World(String),
}

impl Trace {
    /// A number that is the same for two runs in which the same happened.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for event in &self.events {
            event.at.hash(&mut hasher);
            event.process.hash(&mut hasher);
            event.what.fold(&mut hasher);
        }
        hasher.finish()
    }

    /// The units of a process that no crash took, in order.
    pub(crate) fn lasting(&self) -> Vec<Unit<'_>> {
        let mut units: Vec<Unit<'_>> = Vec::new();
        for (at, event) in self.events.iter().enumerate() {
            let endpoint = self.members.get(event.process).map(|member| &member.name);
            let Some(endpoint) = endpoint else { continue };
            match &event.what {
                What::Committed { unit, index, .. } => units.push(Unit {
                    at,
                    endpoint,
                    index: *index,
                    work: unit,
                }),
                What::Lost { from } => units.retain(|unit| unit.endpoint != endpoint || unit.index < *from),
                _ => {}
            }
        }
        units
    }
}

/// A committed unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit<'a> {
    /// The place of its event.
    pub(crate) at: usize,
    pub(crate) endpoint: &'a Address,
    pub(crate) index: usize,
    pub(crate) work: &'a Arc<UnitOfWork>,
}

impl What {
    fn fold(&self, hasher: &mut DefaultHasher) {
        std::mem::discriminant(self).hash(hasher);
        match self {
            Self::Started => {}
            Self::Crashed(point) => point.hash(hasher),
            Self::Ended(error) => error.hash(hasher),
            Self::Accepted(id) | Self::Confirmed(id) => id.hash(hasher),
            Self::Taken { envelope, queue, due } => {
                envelope.id.hash(hasher);
                queue.hash(hasher);
                due.hash(hasher);
            }
            Self::Delivered { queue, envelope, tag } | Self::Acknowledged { queue, envelope, tag } => {
                envelope.id.hash(hasher);
                queue.hash(hasher);
                tag.hash(hasher);
            }
            Self::Released { envelope }
            | Self::LeaseLost { envelope }
            | Self::DeliveredTooOften { envelope } => envelope.id.hash(hasher),
            Self::Committed {
                unit, durable, index, ..
            } => {
                durable.hash(hasher);
                index.hash(hasher);
                unit.inbox.iter().for_each(|change| change.id.hash(hasher));
                unit.records.len().hash(hasher);
                unit.pending.len().hash(hasher);
            }
            Self::Lost { from } => from.hash(hasher),
            Self::Called(call) => call.hash(hasher),
            Self::World(text) => text.hash(hasher),
        }
    }
}
