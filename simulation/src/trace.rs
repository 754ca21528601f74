//! What happened in one schedule, event by event: what the checkers read and people see.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::ids::MessageId;
use longhaul_core::probe::{CrashPoint, Moment};
use longhaul_core::store::UnitOfWork;
use longhaul_core::transport::TransportErrorKind;

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

/// How much is told of an event where two runs part, in characters.
const TOLD: usize = 400;

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
        /// By the clock of the sender.
        due: Option<Timestamp>,
        /// What the clock of the sender showed.
        local: Timestamp,
    },
    /// The process was told that the broker has it.
    Confirmed(MessageId),
    /// The process was told that the broker does not have it, or may not.
    Refused { id: MessageId, kind: TransportErrorKind },
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
    DeliveredTooOften { queue: Address, envelope: Arc<Envelope> },
    /// An operator moves a message from the error queue back to where it came from.
    Replayed { queue: Address, envelope: Arc<Envelope> },
    /// An operator takes a message out of the error queue for good, and tells its endpoint to let pass what waits behind it.
    Discarded { queue: Address, envelope: Arc<Envelope> },
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
    /// Something goes wrong, and is over at that time.
    Disturbed { until: Timestamp },
}

impl Trace {
    /// A number that is the same for two runs in which the same happened.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for event in &self.events {
            event.fold(&mut hasher);
        }
        hasher.finish()
    }

    /// The first events, in words, that two runs don't have in common.
    pub(crate) fn parting(&self, other: &Self) -> Option<(String, String)> {
        if self.fingerprint() == other.fingerprint() {
            return None;
        }
        let alone = |event: &Event| {
            let mut hasher = DefaultHasher::new();
            event.fold(&mut hasher);
            hasher.finish()
        };
        let both = self.events.iter().zip(&other.events);
        let at = both.take_while(|(one, two)| alone(one) == alone(two)).count();
        let told = |trace: &Self| {
            let event = trace.events.get(at);
            let told = event.map_or_else(|| String::from("nothing"), |event| format!("{event:?}"));
            told.chars().take(TOLD).collect()
        };
        Some((told(self), told(other)))
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

impl Event {
    fn fold(&self, hasher: &mut DefaultHasher) {
        self.at.hash(hasher);
        self.process.hash(hasher);
        self.what.fold(hasher);
    }
}

impl What {
    fn fold(&self, hasher: &mut DefaultHasher) {
        std::mem::discriminant(self).hash(hasher);
        match self {
            Self::Started => {}
            Self::Crashed(point) => point.hash(hasher),
            Self::Ended(error) => error.hash(hasher),
            Self::Accepted(id) | Self::Confirmed(id) => id.hash(hasher),
            Self::Taken {
                envelope,
                queue,
                due,
                local,
            } => {
                hash_all(envelope, hasher);
                queue.hash(hasher);
                due.hash(hasher);
                local.hash(hasher);
            }
            Self::Refused { id, kind } => {
                id.hash(hasher);
                hash_all(kind, hasher);
            }
            Self::Delivered { queue, envelope, tag } | Self::Acknowledged { queue, envelope, tag } => {
                envelope.id.hash(hasher);
                queue.hash(hasher);
                tag.hash(hasher);
            }
            Self::Released { envelope } | Self::LeaseLost { envelope } => envelope.id.hash(hasher),
            Self::DeliveredTooOften { queue, envelope }
            | Self::Replayed { queue, envelope }
            | Self::Discarded { queue, envelope } => {
                hash_all(envelope, hasher);
                queue.hash(hasher);
            }
            Self::Committed {
                unit,
                local,
                durable,
                index,
            } => {
                local.hash(hasher);
                durable.hash(hasher);
                index.hash(hasher);
                hash_all(unit, hasher);
            }
            Self::Lost { from } => from.hash(hasher),
            Self::Called(call) => call.hash(hasher),
            Self::World(text) => text.hash(hasher),
            Self::Disturbed { until } => until.hash(hasher),
        }
    }
}

/// Hashes everything that a value shows of itself: bodies and headers, too.
fn hash_all(value: &impl fmt::Debug, hasher: &mut DefaultHasher) {
    struct Shown<'a>(&'a mut DefaultHasher);
    impl fmt::Write for Shown<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    // Hashing never fails.
    fmt::write(&mut Shown(hasher), format_args!("{value:?}")).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use longhaul_core::headers;

    use crate::checks::story::{Story, add, done, message, message_with, put, scheduled, unit};

    #[test]
    fn when_only_bodies_headers_or_states_differ_the_traces_do() {
        let mut filled = message("m");
        filled.body = "{}".into();
        let stories = [
            Story::new().taken(message("m")),
            Story::new().taken(filled),
            Story::new().taken(message_with("m", headers::TYPE, "another.type")),
            Story::new().commit(unit([done("m")], [put("7", None)], [add("out", "m")]), 0),
            Story::new().commit(unit([done("m")], [put("8", None)], [add("out", "m")]), 0),
            Story::new().commit(unit([done("m")], [put("7", None)], [add("out", "n")]), 0),
            Story::new().commit(
                unit([scheduled("m", 1, 1)], [put("7", None)], [add("out", "m")]),
                0,
            ),
            Story::new().commit(
                unit([scheduled("m", 1, 2)], [put("7", None)], [add("out", "m")]),
                0,
            ),
        ];
        let mut seen = std::collections::HashSet::new();
        for story in stories {
            let trace = story.trace();
            assert_eq!(trace.fingerprint(), trace.clone().fingerprint());
            assert!(seen.insert(trace.fingerprint()), "{trace:?}");
        }
    }
}
