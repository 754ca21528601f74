//! What a schedule brought about: what invariants are about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use longhaul_core::address::Address;
use longhaul_core::codec::{JsonCodec, decode};
use longhaul_core::envelope::Envelope;
use longhaul_core::headers;
use longhaul_core::message::Message;
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
    shelves: Mutex<BTreeMap<Address, Shelf>>,
}

impl Effects {
    pub(crate) fn new(trace: &Trace, calls: Vec<Call>, shelves: BTreeMap<Address, Shelf>) -> Self {
        let mut seen = BTreeSet::new();
        let taken = trace.events.iter().filter_map(|event| match &event.what {
            What::Taken { envelope, .. } if seen.insert(envelope.id.clone()) => Some(Arc::clone(envelope)),
            _ => None,
        });
        let sent = taken.collect();
        Self {
            calls,
            sent,
            failed: trace.failed.clone(),
            shelves: Mutex::new(shelves),
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

/// A message that the broker took.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a>(&'a Envelope);

impl Sent<'_> {
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
