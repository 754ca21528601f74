//! What a schedule brought about: what invariants are about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use longhaul_core::address::Address;
use longhaul_core::codec::{JsonCodec, decode};
use longhaul_core::envelope::Envelope;
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use longhaul_core::message::Message;
use longhaul_core::store::{InboxChange, PendingChange, PendingKind, Record, RecordChange, UnitOfWork};
use longhaul_sagas::{Instance, Saga, SagaId};

use crate::outside::Call;
use crate::store::Shelf;
use crate::trace::{Trace, What};

/// Everything that a schedule brought about, once it has come to rest.
#[derive(Debug)]
pub struct Effects {
    calls: Vec<Call>,
    sent: Vec<Arc<Envelope>>,
    failed: Vec<Arc<Envelope>>,
    discarded: Vec<Arc<Envelope>>,
    shelves: Mutex<BTreeMap<Address, Shelf>>,
    units: Vec<(Address, Arc<UnitOfWork>)>,
}

impl Effects {
    pub(crate) fn new(trace: &Trace, calls: Vec<Call>, shelves: BTreeMap<Address, Shelf>) -> Self {
        let mut seen = BTreeSet::new();
        let taken = trace.events.iter().filter_map(|event| match &event.what {
            What::Taken { envelope, .. } if seen.insert(envelope.id.clone()) => Some(Arc::clone(envelope)),
            _ => None,
        });
        let sent = taken.collect();
        let discarded = trace.events.iter().filter_map(|event| match &event.what {
            What::Discarded { envelope, .. } => Some(Arc::clone(envelope)),
            _ => None,
        });
        let units = trace.lasting().into_iter();
        let units = units.map(|unit| (unit.endpoint.clone(), Arc::clone(unit.work)));
        Self {
            calls,
            sent,
            failed: trace.failed.clone(),
            discarded: discarded.collect(),
            shelves: Mutex::new(shelves),
            units: units.collect(),
        }
    }

    /// Every time that a third party did `what`.
    pub fn calls(&self, what: &str) -> impl Iterator<Item = &Call> {
        let what = what.to_owned();
        self.calls.iter().filter(move |call| call.what == what)
    }

    /// How often a third party did `what` about `about`.
    #[must_use]
    pub fn count(&self, what: &str, about: &str) -> usize {
        self.calls(what).filter(|call| call.about == about).count()
    }

    /// The messages of a type that the broker took, each once however often it was sent.
    ///
    /// # Panics
    /// One can't be read as `M`.
    #[must_use]
    pub fn messages<M: Message>(&self) -> Vec<M> {
        self.sent().filter_map(|sent| sent.read()).collect()
    }

    /// All messages that the broker took, in the order in which it took them, each once however often it was sent.
    pub fn sent(&self) -> impl Iterator<Item = Sent<'_>> {
        self.sent.iter().map(|envelope| Sent(envelope))
    }

    /// What an operator discarded from the error queue: see [`World::discarded`](crate::World::discarded). With the headers that say
    /// why it was there.
    pub fn discarded(&self) -> impl Iterator<Item = Sent<'_>> {
        self.discarded.iter().map(|envelope| Sent(envelope))
    }

    /// How many messages the error queue holds.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed.len()
    }

    /// The names of the reasons for which messages went to the error queue.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        let failed = self.failed.iter();
        failed.map(|envelope| envelope.headers.get(headers::ERROR_REASON).unwrap_or_default())
    }

    /// An instance of a saga, finished or not, as the endpoint stored it last.
    ///
    /// # Panics
    /// Its record can't be read.
    #[must_use]
    pub fn instance<S: Saga>(&self, endpoint: &str, id: &S::Id) -> Option<Instance> {
        let key = id.to_key();
        self.stored::<S>(endpoint)
            .into_iter()
            .find(|(stored, _)| *stored == key)
            .map(|(_, instance)| instance)
    }

    /// All instances of a saga, finished or not, as the endpoint stored them last.
    ///
    /// # Panics
    /// A record can't be read.
    #[must_use]
    pub fn instances<S: Saga>(&self, endpoint: &str) -> Vec<Instance> {
        self.stored::<S>(endpoint)
            .into_iter()
            .map(|(_, instance)| instance)
            .collect()
    }

    /// Everything that an endpoint committed, one unit after the other, without what a crash took back.
    ///
    /// All that was ever visible in its store: what must be true at every moment, and not only at the end, is checked
    /// against each of them.
    pub fn history(&self, endpoint: &str) -> impl Iterator<Item = Committed<'_>> {
        let units = self
            .units
            .iter()
            .filter(move |(name, _)| name.as_str() == endpoint);
        units.map(|(_, unit)| Committed(unit))
    }

    fn stored<S: Saga>(&self, endpoint: &str) -> Vec<(String, Instance)> {
        let Ok(endpoint) = Address::new(endpoint) else {
            return Vec::new();
        };
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shelf) = shelves.get_mut(&endpoint) else {
            return Vec::new();
        };
        let records = shelf.records(&endpoint, &Instance::collection(S::NAME));
        records
            .iter()
            .map(|record| match Instance::read(record) {
                Ok(instance) => (record.key.id.to_string(), instance),
                Err(fault) => panic!("failed to {fault}"),
            })
            .collect()
    }
}

/// What an endpoint committed at once: states, and the messages that come of them.
#[derive(Debug, Clone, Copy)]
pub struct Committed<'a>(&'a UnitOfWork);

impl<'a> Committed<'a> {
    /// What it says about messages.
    pub(crate) fn inbox(&self) -> &'a [InboxChange] {
        &self.0.inbox
    }

    /// Whether it sets a row aside.
    #[cfg(test)]
    pub(crate) fn parks(&self) -> bool {
        let is_parked =
            |change: &PendingChange| matches!(change, PendingChange::Add(row) if row.parked.is_some());
        self.0.pending.iter().any(is_parked)
    }
}

impl Committed<'_> {
    /// The instances of a saga that it changed, as it left them, each with its id as a text.
    ///
    /// # Panics
    /// A record can't be read.
    #[must_use]
    pub fn changed<S: Saga>(&self) -> Vec<(String, Instance)> {
        let collection = Instance::collection(S::NAME);
        let changes = self.0.records.iter().filter_map(|change| match change {
            RecordChange::Put {
                key, body, expires, ..
            } if *key.collection == *collection => Some(Record {
                key: key.clone(),
                version: 0,
                body: body.clone(),
                expires: *expires,
            }),
            _ => None,
        });
        changes
            .map(|record| match Instance::read(&record) {
                Ok(instance) => (record.key.id.to_string(), instance),
                Err(fault) => panic!("failed to {fault}"),
            })
            .collect()
    }

    /// The messages of a type that it sends. Nothing that is only sent again, and no timeouts.
    ///
    /// # Panics
    /// One can't be read as `M`.
    #[must_use]
    pub fn sends<M: Message>(&self) -> Vec<M> {
        let added = self.0.pending.iter().filter_map(|change| match change {
            PendingChange::Add(row) if row.kind == PendingKind::Message && row.name != "retry" => {
                Sent(&row.envelope).read()
            }
            _ => None,
        });
        added.collect()
    }
}

/// A message that the broker took.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a>(&'a Envelope);

impl<'a> Sent<'a> {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &'a MessageId {
        &self.0.id
    }
}

impl<'a> Sent<'a> {
    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.0.headers.get(name)
    }

    /// The wire name of its type.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.headers.get(headers::TYPE).unwrap_or_default()
    }

    /// The message, if it is of this type.
    ///
    /// # Panics
    /// It is, and can't be read.
    #[must_use]
    pub fn read<M: Message>(&self) -> Option<M> {
        let read = || decode(&JsonCodec::default(), &self.0.body);
        (self.name() == M::NAME)
            .then(|| read().unwrap_or_else(|fault| panic!("failed to read {}: {fault}", M::NAME)))
    }
}
