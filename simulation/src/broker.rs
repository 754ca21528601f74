//! The simulated broker: queues, who holds what, and the two ways in which brokers forget who holds it.

mod groups;
mod personality;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers;
use tokio::sync::{Notify, watch};

use groups::Standing;
pub use personality::Personality;

/// For how long a message is lent.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// After so many deliveries that came to nothing, the broker gives a message up.
pub(crate) const DELIVERIES: u32 = 1000;
/// Where it puts it.
pub(crate) const ERROR_QUEUE: &str = "error";

/// All queues.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) personality: Personality,
    pub(crate) queues: BTreeMap<Address, Queue>,
    pub(crate) subscriptions: BTreeMap<String, BTreeSet<Address>>,
    /// It takes nothing before this time.
    pub(crate) blocked_until: Option<Timestamp>,
    /// No loan ends before this time.
    next_end: Option<Timestamp>,
    next: u64,
}

/// One queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<(Timestamp, u64), Held>,
    lent: BTreeMap<u64, Lent>,
    pub(crate) changed: Arc<Notify>,
    /// Where copies are dropped: when each was taken last.
    copies: BTreeMap<String, Timestamp>,
}

/// A message in a queue.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) envelope: Arc<Envelope>,
    /// How often it was delivered.
    pub(crate) deliveries: u32,
    /// Where groups are kept in order.
    standing: Option<Arc<Standing>>,
}

/// A message that somebody has.
#[derive(Debug)]
pub(crate) struct Lent {
    held: Held,
    order: u64,
    pub(crate) to: Holder,
    /// When the loan ends, where loans end.
    pub(crate) until: Option<Timestamp>,
    /// Nobody renews it any more.
    is_given_up: bool,
    lost: watch::Sender<bool>,
}

/// Who has a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) process: usize,
    pub(crate) start: u32,
    pub(crate) connection: u32,
}

/// A message on its way to a process.
#[derive(Debug)]
pub(crate) struct Loan {
    pub(crate) tag: u64,
    pub(crate) held: Held,
    pub(crate) lost: watch::Receiver<bool>,
}

impl Broker {
    pub(crate) const fn new(personality: Personality) -> Self {
        Self {
            personality,
            queues: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            blocked_until: None,
            next_end: None,
            next: 0,
        }
    }

    /// Puts a message into a queue, if there is one of that name.
    pub(crate) fn put(&mut self, queue: &Address, envelope: Arc<Envelope>, at: Timestamp) -> bool {
        self.next += 1;
        let order = self.next;
        let Some(queue) = self.queues.get_mut(queue) else {
            return false;
        };
        queue.insert((at, order), envelope, None);
        true
    }

    /// The same for a message that is sent now, and is there from `at` on: because it is due then, or because it is late.
    pub(crate) fn take(
        &mut self,
        name: &Address,
        envelope: Arc<Envelope>,
        now: Timestamp,
        at: Timestamp,
        is_delayed: bool,
    ) -> bool {
        if self.personality != Personality::SqsFifo || name.as_str() == ERROR_QUEUE {
            return self.put(name, envelope, at);
        }
        self.next += 1;
        let order = self.next;
        let Some(queue) = self.queues.get_mut(name) else {
            return false;
        };
        let joined = if is_delayed { at } else { now };
        if !queue.has_taken(&envelope, joined, is_delayed) {
            let standing = Standing::of(&envelope, (joined, order));
            queue.insert((at, order), envelope, Some(Arc::new(standing)));
        }
        true
    }

    /// Lends the first message that is there, or says when the next one is.
    pub(crate) fn lend(
        &mut self,
        name: &Address,
        to: Holder,
        now: Timestamp,
    ) -> Result<Loan, Option<Timestamp>> {
        self.next += 1;
        let tag = self.next;
        let leases = self.personality.has_leases();
        let queue = self.queues.get_mut(name).ok_or(None)?;
        let first = match self.personality {
            Personality::Rabbit | Personality::Sqs => queue.first(now)?,
            Personality::SqsFifo => queue.first_in_order(now)?,
        };
        let (order, held) = (first.0.1, first.1);
        let (lost, watched) = watch::channel(false);
        let lent = Lent {
            held: held.clone(),
            order,
            to,
            until: leases.then(|| now + LEASE),
            is_given_up: false,
            lost,
        };
        let end = lent.until;
        queue.lent.insert(tag, lent);
        self.next_end = self.next_end.into_iter().chain(end).min();
        Ok(Loan {
            tag,
            held,
            lost: watched,
        })
    }

    /// How much of a queue a process has.
    pub(crate) fn lent_to(&self, queue: &Address, holder: Holder) -> usize {
        let queue = self.queues.get(queue);
        queue.map_or(0, |queue| {
            queue.lent.values().filter(|lent| lent.to == holder).count()
        })
    }

    /// Ends a loan: the message is gone, or back in its queue from a time on. `None`: the right was lost before.
    pub(crate) fn settle(
        &mut self,
        name: &Address,
        tag: u64,
        back: Option<Timestamp>,
    ) -> Option<Arc<Envelope>> {
        let queue = self.queues.get_mut(name)?;
        let lent = queue.lent.remove(&tag)?;
        let envelope = Arc::clone(&lent.held.envelope);
        if let Some(at) = back {
            queue.give_back(lent, at);
        }
        queue.changed.notify_waiters();
        Some(envelope)
    }

    /// The settlement never arrives: the message stays with its holder, who has forgotten it.
    pub(crate) fn forget(&mut self, name: &Address, tag: u64, now: Timestamp) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        match self.personality {
            Personality::Rabbit => {
                if let Some(lent) = queue.lent.remove(&tag) {
                    queue.give_back(lent, now);
                }
            }
            Personality::Sqs | Personality::SqsFifo => {
                if let Some(lent) = queue.lent.get_mut(&tag) {
                    lent.is_given_up = true;
                }
            }
        }
        queue.changed.notify_waiters();
    }

    /// The connection of a process is gone: what it had comes back, at once or when its loans end. Returns what it lost.
    pub(crate) fn drop_connection(&mut self, process: usize, now: Timestamp) -> Vec<Arc<Envelope>> {
        let mut lost = Vec::new();
        for queue in self.queues.values_mut() {
            match self.personality {
                Personality::Rabbit => {
                    let tags = queue.tags_of(process);
                    for tag in tags {
                        if let Some(lent) = queue.lent.remove(&tag) {
                            lost.push(Arc::clone(&lent.held.envelope));
                            queue.give_back(lent, now);
                        }
                    }
                }
                Personality::Sqs | Personality::SqsFifo => {
                    let of_process = queue.lent.values_mut().filter(|lent| lent.to.process == process);
                    of_process.for_each(|lent| lent.is_given_up = true);
                }
            }
            queue.changed.notify_waiters();
        }
        lost
    }

    /// Renews the loans of those who are there, and ends the others whose time has passed. Returns who lost what.
    pub(crate) fn end_loans(
        &mut self,
        now: Timestamp,
        renews: impl Fn(Holder) -> bool,
    ) -> Vec<(usize, Arc<Envelope>)> {
        let mut lost = Vec::new();
        if self.next_end.is_none_or(|end| end > now) {
            return lost;
        }
        let mut ends = None;
        for queue in self.queues.values_mut() {
            let due = queue
                .lent
                .iter_mut()
                .filter(|(_, lent)| lent.until.is_some_and(|until| until <= now));
            let mut ended = Vec::new();
            for (tag, lent) in due {
                if !lent.is_given_up && renews(lent.to) {
                    lent.until = Some(now + LEASE);
                } else {
                    ended.push(*tag);
                }
            }
            for tag in ended {
                if let Some(lent) = queue.lent.remove(&tag) {
                    lost.push((lent.to.process, Arc::clone(&lent.held.envelope)));
                    queue.give_back(lent, now);
                    queue.changed.notify_waiters();
                }
            }
            ends = queue
                .lent
                .values()
                .filter_map(|lent| lent.until)
                .chain(ends)
                .min();
        }
        self.next_end = ends;
        lost
    }

    /// When the next loan ends, at the earliest.
    pub(crate) const fn next_end(&self) -> Option<Timestamp> {
        self.next_end
    }

    /// Takes those messages out of the error queue for which `which` says so.
    pub(crate) fn take_failed(&mut self, which: impl Fn(&Envelope) -> bool) -> Vec<Arc<Envelope>> {
        let queues = self.queues.iter_mut();
        let mut errors = queues.filter(|(name, _)| name.as_str() == ERROR_QUEUE);
        let Some((_, errors)) = errors.next() else {
            return Vec::new();
        };
        let taken = errors.waiting.extract_if(.., |_, held| which(&held.envelope));
        taken.map(|(_, held)| held.envelope).collect()
    }

    /// Whether every queue but that of what failed is empty until that time, and afterwards only holds alarms.
    pub(crate) fn is_empty_until(&self, time: Timestamp) -> bool {
        let mut queues = self
            .queues
            .iter()
            .filter(|(name, _)| name.as_str() != ERROR_QUEUE);
        let is_far = |((at, _), held): (&(Timestamp, u64), &Held)| {
            *at > time && held.envelope.headers.get(headers::TIMEOUT_ID).is_some()
        };
        queues.all(|(_, queue)| queue.lent.is_empty() && queue.waiting.iter().all(is_far))
    }

    /// When the last message comes that comes until that time.
    pub(crate) fn last_until(&self, time: Timestamp) -> Option<Timestamp> {
        let queues = self
            .queues
            .iter()
            .filter(|(name, _)| name.as_str() != ERROR_QUEUE);
        let last = queues.filter_map(|(_, queue)| {
            let (at, _) = queue.waiting.range(..=(time, u64::MAX)).next_back()?.0;
            Some(*at)
        });
        last.max()
    }

    /// What is still in the queues, for people.
    pub(crate) fn contents(&self) -> Vec<String> {
        let queues = self
            .queues
            .iter()
            .filter(|(name, _)| name.as_str() != ERROR_QUEUE);
        queues
            .flat_map(|(name, queue)| {
                let waiting = queue
                    .waiting
                    .iter()
                    .map(move |((at, _), held)| format!("{} waits in {name} from {at} on", held.envelope.id));
                let lent = queue.lent.values().map(move |lent| {
                    format!(
                        "{} of {name} is with process {}",
                        lent.held.envelope.id, lent.to.process
                    )
                });
                waiting.chain(lent)
            })
            .collect()
    }

    /// The messages in the error queue.
    pub(crate) fn failed(&self) -> Vec<Arc<Envelope>> {
        let queues = self
            .queues
            .iter()
            .filter(|(name, _)| name.as_str() == ERROR_QUEUE);
        queues
            .flat_map(|(_, queue)| queue.waiting.values().map(|held| Arc::clone(&held.envelope)))
            .collect()
    }
}

impl Queue {
    fn insert(&mut self, place: (Timestamp, u64), envelope: Arc<Envelope>, standing: Option<Arc<Standing>>) {
        let held = Held {
            envelope,
            deliveries: 0,
            standing,
        };
        self.waiting.insert(place, held);
        self.changed.notify_waiters();
    }

    /// Takes the first message that is there, or says when the next one is.
    fn first(&mut self, now: Timestamp) -> Result<((Timestamp, u64), Held), Option<Timestamp>> {
        let first = self.waiting.first_entry().ok_or(None)?;
        let place = *first.key();
        if place.0 > now {
            return Err(Some(place.0));
        }
        Ok((place, first.remove()))
    }

    fn tags_of(&self, process: usize) -> Vec<u64> {
        let lent = self.lent.iter().filter(|(_, lent)| lent.to.process == process);
        lent.map(|(tag, _)| *tag).collect()
    }

    /// In its old place among those of the same time.
    fn give_back(&mut self, lent: Lent, at: Timestamp) {
        lent.lost.send_replace(true);
        let held = Held {
            deliveries: lent.held.deliveries + 1,
            ..lent.held
        };
        self.waiting.insert((at, lent.order), held);
    }
}
