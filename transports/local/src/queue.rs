//! One queue: what waits, in which order, what is being handled and by whom. No locks, no time of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::transport::ReceiverOptions;
use tokio::sync::Notify;

use crate::content::Content;
use crate::link::Link;
use crate::message::{Message, Note};

/// How many messages that were there when the broker was opened are counted with one write.
const COUNTED_AT_ONCE: usize = 64;

/// How a delivery is counted on disk.
#[derive(Debug)]
pub(crate) enum Count {
    /// Not at all: the first one of a message that came in this life.
    No,
    /// Some time soon.
    Soon(Note),
    /// Before the message is handed out: it may have ended the last life. Its neighbours are counted with it.
    First(Vec<Note>),
}

/// A message that can be handed out, and its place in the line.
#[derive(Debug)]
struct Ready {
    place: u64,
    message: Message,
}

#[derive(Debug)]
struct Unsettled {
    receiver: u64,
    place: u64,
    message: Message,
}

#[derive(Debug)]
struct Consumer {
    options: ReceiverOptions,
    unsettled: usize,
    link: Arc<Link>,
}

/// What a receiver finds.
#[derive(Debug)]
pub(crate) enum Take {
    /// A message, to be settled under the tag.
    Message(Taken),
    /// It holds as many as it may.
    Full,
    /// Nothing yet; the next delayed one is due then.
    Empty(Option<Timestamp>),
    /// The receiver, or its queue, is gone.
    Gone,
}

#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) tag: u64,
    pub(crate) content: Arc<Content>,
    pub(crate) redeliveries: u32,
    pub(crate) count: Count,
}

/// How many messages a queue holds: see [`LocalBroker::queue_lengths`](crate::LocalBroker::queue_lengths).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueLength {
    /// Ready to be handed out now.
    pub ready: usize,
    /// Waiting for their time.
    pub delayed: usize,
    /// Handed out and not yet settled.
    pub unsettled: usize,
}

impl QueueLength {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.ready + self.delayed + self.unsettled
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// By place.
    ready: VecDeque<Ready>,
    delayed: BTreeMap<(Timestamp, u64), Message>,
    unsettled: BTreeMap<u64, Unsettled>,
    consumers: BTreeMap<u64, Consumer>,
    /// Accepted, and not in the lines yet.
    reserved: usize,
    bytes: usize,
    /// The last number given to a sequence, a place, a tag or a receiver.
    last: u64,
    /// Numbers up to this one are those of an earlier queue of its name, which was deleted.
    before: u64,
    pub(crate) arrived: Arc<Notify>,
}

impl Queue {
    /// A new queue, none of whose numbers is up to `last`.
    pub(crate) fn after(last: u64) -> Self {
        Self {
            last,
            before: last,
            ..Self::default()
        }
    }

    /// The next number of this queue.
    pub(crate) const fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// All messages that it answers for.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.delayed.len() + self.unsettled.len() + self.reserved
    }

    /// Their bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn lengths(&mut self, now: Timestamp) -> QueueLength {
        self.promote(now, true);
        QueueLength {
            ready: self.ready.len(),
            delayed: self.delayed.len(),
            unsettled: self.unsettled.len(),
        }
    }

    /// Makes room for a message that is accepted and joins later, or never.
    pub(crate) fn reserve(&mut self, content: &Arc<Content>, due: Option<Timestamp>) -> Message {
        self.reserved += 1;
        self.bytes += content.bytes();
        Message {
            sequence: self.number(),
            content: Arc::clone(content),
            due,
            deliveries: 0,
            recovered: false,
            noted: false,
        }
    }

    /// The room is not needed after all.
    pub(crate) fn unreserve(&mut self, message: &Message) {
        self.reserved -= 1;
        self.bytes -= message.content.bytes();
    }

    /// Whether room was made for the message here, and not in a queue of its name that was deleted since.
    pub(crate) const fn made_room_for(&self, message: &Message) -> bool {
        message.sequence > self.before
    }

    /// Puts a message that was stored in an earlier life in its line; its bytes and its number begin to count.
    pub(crate) fn restore(&mut self, message: Message, now: Timestamp) {
        self.bytes += message.content.bytes();
        self.start_after(message.sequence);
        self.line_up(message, now);
    }

    /// The last number that was used.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// Gives no number up to `last` again.
    pub(crate) fn start_after(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// A message for which room was made joins the line.
    pub(crate) fn join(&mut self, message: Message, now: Timestamp) {
        self.reserved -= 1;
        self.line_up(message, now);
    }

    fn line_up(&mut self, message: Message, now: Timestamp) {
        match message.due.filter(|due| *due > now) {
            Some(due) => self.delay(due, message),
            None => {
                // Who was due earlier was here earlier; who is due at this very instant comes after.
                self.promote(now, false);
                let place = self.number();
                self.ready.push_back(Ready { place, message });
                self.arrived.notify_one();
            }
        }
    }

    fn delay(&mut self, due: Timestamp, message: Message) {
        let key = (due, message.sequence);
        self.delayed.insert(key, message);
        if self
            .delayed
            .first_key_value()
            .is_some_and(|(first, _)| *first == key)
        {
            // Everybody who waits for a later time must wait for this one instead.
            self.arrived.notify_waiters();
        }
    }

    fn promote(&mut self, now: Timestamp, this_instant_too: bool) {
        while let Some(first) = self.delayed.first_entry() {
            let due = first.key().0;
            if due > now || (due == now && !this_instant_too) {
                return;
            }
            let message = first.remove();
            let place = self.number();
            self.ready.push_back(Ready { place, message });
            self.arrived.notify_one();
        }
    }

    /// Lets a receiver in, unless somebody wants to be alone.
    pub(crate) fn enter(&mut self, options: ReceiverOptions, link: &Arc<Link>) -> Option<u64> {
        let alone = options.exclusive || self.consumers.values().any(|other| other.options.exclusive);
        if alone && !self.consumers.is_empty() {
            return None;
        }
        let receiver = self.number();
        let consumer = Consumer {
            options,
            unsettled: 0,
            link: Arc::clone(link),
        };
        self.consumers.insert(receiver, consumer);
        Some(receiver)
    }

    /// A receiver goes; what it holds comes back.
    pub(crate) fn leave(&mut self, receiver: u64) {
        let Some(consumer) = self.consumers.remove(&receiver) else {
            return;
        };
        let back = self.unsettled.extract_if(.., |_, held| held.receiver == receiver);
        let back: Vec<Unsettled> = back.map(|(_, held)| held).collect();
        for held in back {
            self.put_back(held.place, held.message);
        }
        consumer.link.lose();
    }

    pub(crate) fn take(&mut self, receiver: u64, now: Timestamp) -> Take {
        self.promote(now, true);
        let Some(consumer) = self.consumers.get_mut(&receiver) else {
            return Take::Gone;
        };
        if consumer.unsettled >= usize::from(consumer.options.prefetch.max(1)) {
            return Take::Full;
        }
        let Some(Ready { place, mut message }) = self.ready.pop_front() else {
            return Take::Empty(self.delayed.first_key_value().map(|((due, _), _)| *due));
        };
        consumer.unsettled += 1;
        let tag = self.number();
        let redeliveries = message.deliveries;
        message.deliveries = redeliveries.saturating_add(1);
        let count = if message.recovered {
            Count::First(self.count_recovered(&mut message))
        } else if redeliveries > 0 {
            Count::Soon(message.note(message.deliveries))
        } else {
            Count::No
        };
        let taken = Taken {
            tag,
            content: Arc::clone(&message.content),
            redeliveries,
            count,
        };
        let held = Unsettled {
            receiver,
            place,
            message,
        };
        self.unsettled.insert(tag, held);
        Take::Message(taken)
    }

    /// Counts `first`, which is being handed out, and with it the ones that come next.
    fn count_recovered(&mut self, first: &mut Message) -> Vec<Note> {
        first.recovered = false;
        let next = self.ready.iter_mut().map(|ready| &mut ready.message);
        let next = next
            .take_while(|message| message.recovered)
            .take(COUNTED_AT_ONCE - 1);
        let next = next.map(|message| {
            message.recovered = false;
            message.note(message.deliveries.saturating_add(1))
        });
        std::iter::once(first.note(first.deliveries))
            .chain(next)
            .collect()
    }

    /// The message is done with. `None`: the right to say so was lost.
    pub(crate) fn finish(&mut self, tag: u64) -> Option<Message> {
        let held = self.let_go(tag)?;
        self.bytes -= held.message.content.bytes();
        Some(held.message)
    }

    /// The message comes again at its old place. `false`: the right to say so was lost.
    pub(crate) fn give_back(&mut self, tag: u64) -> bool {
        let held = self.let_go(tag);
        held.map(|held| self.put_back(held.place, held.message)).is_some()
    }

    /// The message comes again, not before `due`. `None`: the right to say so was lost.
    pub(crate) fn postpone(&mut self, tag: u64, due: Timestamp) -> Option<Note> {
        let Unsettled { mut message, .. } = self.let_go(tag)?;
        message.due = Some(due);
        let note = message.note(message.deliveries);
        self.delay(due, message);
        Some(note)
    }

    fn let_go(&mut self, tag: u64) -> Option<Unsettled> {
        let held = self.unsettled.remove(&tag)?;
        if let Some(consumer) = self.consumers.get_mut(&held.receiver) {
            consumer.unsettled -= 1;
            consumer.link.free();
        }
        Some(held)
    }

    fn put_back(&mut self, place: u64, message: Message) {
        let at = self.ready.partition_point(|ready| ready.place < place);
        self.ready.insert(at, Ready { place, message });
        self.arrived.notify_one();
    }

    /// All messages in its lines and in hands.
    pub(crate) fn into_messages(self) -> impl Iterator<Item = Message> {
        let ready = self.ready.into_iter().map(|ready| ready.message);
        let unsettled = self.unsettled.into_values().map(|held| held.message);
        ready.chain(self.delayed.into_values()).chain(unsettled)
    }

    /// The messages that nobody holds, in the order in which they would come.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Message> {
        self.ready
            .iter()
            .map(|ready| &ready.message)
            .chain(self.delayed.values())
    }

    /// Takes out the first one with that id that nobody holds.
    pub(crate) fn remove(&mut self, id: &MessageId) -> Option<Message> {
        self.remove_first(|message| message.content.id() == Some(id.as_str().as_bytes()))
    }

    /// Takes out the one of this sequence, unless somebody holds it.
    pub(crate) fn remove_at(&mut self, sequence: u64) -> Option<Message> {
        self.remove_first(|message| message.sequence == sequence)
    }

    fn remove_first(&mut self, wanted: impl Fn(&Message) -> bool) -> Option<Message> {
        let message = match self.ready.iter().position(|ready| wanted(&ready.message)) {
            Some(at) => self.ready.remove(at).map(|ready| ready.message),
            None => {
                let key = self.delayed.iter().find(|(_, message)| wanted(message));
                let key = key.map(|(key, _)| *key)?;
                self.delayed.remove(&key)
            }
        }?;
        self.bytes -= message.content.bytes();
        Some(message)
    }

    /// How many receivers it has.
    pub(crate) fn consumers(&self) -> usize {
        self.consumers.len()
    }

    /// The queue is deleted: whoever waits or holds something is told.
    pub(crate) fn dismiss(&mut self) {
        while let Some((_, consumer)) = self.consumers.pop_first() {
            consumer.link.lose();
        }
        self.arrived.notify_waiters();
    }

    /// Lets every receiver look again.
    pub(crate) fn rouse(&self) {
        for consumer in self.consumers.values() {
            consumer.link.free();
        }
        self.arrived.notify_waiters();
    }
}
