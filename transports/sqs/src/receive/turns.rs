//! Whose turn it is: of each group one message is handed out at a time, and the next one when that is done with.
//!
//! SQS hands out several messages of a group at once. Where one of them is not done (it is given back, its lease is lost),
//! those behind it are given back too, so that they come again after it.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use crate::receive::Handed;

/// A message that waits for its turn, by its key in the ledger.
pub(crate) type Waiting = (u64, Handed);

/// The groups of which a receiver has messages: no more than it may hold.
#[derive(Debug)]
pub(crate) struct Turns {
    state: Mutex<State>,
    /// It keeps nobody from seeing that all pollers have ended.
    hand: mpsc::WeakSender<Handed>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<String, Group>,
    is_closed: bool,
}

#[derive(Debug)]
struct Group {
    /// Who has been handed out.
    first: u64,
    behind: VecDeque<Waiting>,
}

/// The place of one message in its group.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    group: String,
    key: u64,
}

impl Turns {
    pub(crate) fn new(hand: &mpsc::Sender<Handed>) -> Self {
        Self {
            state: Mutex::default(),
            hand: hand.downgrade(),
        }
    }

    /// The place that a message will have.
    pub(crate) fn turn(turns: &Arc<Self>, group: &str, key: u64) -> Turn {
        Turn {
            turns: Arc::clone(turns),
            group: group.to_owned(),
            key,
        }
    }

    /// Hands out what one poll has brought, or has it wait behind others. All at once: were the first of a group given back
    /// before the next one is entered, that one would be handed out without it.
    pub(crate) fn enter(&self, came: Vec<(String, Waiting)>) {
        let mut state = self.lock();
        if state.is_closed {
            drop(state);
            return drop(came);
        }
        let mut first = Vec::with_capacity(came.len());
        for (group, (key, handed)) in came {
            match state.groups.entry(group) {
                Entry::Occupied(mut group) => group.get_mut().behind.push_back((key, handed)),
                Entry::Vacant(free) => {
                    let behind = VecDeque::new();
                    free.insert(Group { first: key, behind });
                    first.push(handed);
                }
            }
        }
        drop(state);
        first.into_iter().for_each(|handed| self.hand_out(handed));
    }

    /// The first of a group is done with, or is not: then those behind it are given back.
    fn leave(&self, group: &str, key: u64, is_done: bool) {
        let mut state = self.lock();
        let Some(found) = state.groups.get_mut(group).filter(|found| found.first == key) else {
            return;
        };
        let next = match is_done {
            true => found.behind.pop_front(),
            false => None,
        };
        // Whoever has a message whose lease is lost has those behind it, too.
        let is_ours = |(_, handed): &Waiting| matches!(handed, Ok((_, lost)) if !*lost.borrow());
        let goes_on = match &next {
            Some(next) if is_ours(next) => {
                found.first = next.0;
                true
            }
            Some(_) | None => false,
        };
        let gone = match goes_on {
            true => None,
            false => state.groups.remove(group),
        };
        // What is dropped settles itself, and asks here again.
        drop(state);
        drop(gone);
        match next {
            Some((_, handed)) if goes_on => self.hand_out(handed),
            not_ours => drop(not_ours),
        }
    }

    /// Gives back whatever waits, and whatever still comes.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let gone = std::mem::take(&mut state.groups);
        drop(state);
        drop(gone);
    }

    fn hand_out(&self, handed: Handed) {
        // There is room for as many as may be held; where nobody listens any more, dropping it gives it back.
        if let Some(hand) = self.hand.upgrade() {
            drop(hand.try_send(handed));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The message is done with: the next one of its group may be handled.
    pub(crate) fn done(self) {
        self.turns.leave(&self.group, self.key, true);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.leave(&self.group, self.key, false);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use futures_util::future::BoxFuture;
    use longhaul_core::{
        envelope::Incoming,
        transport::{Delivery, Settle, Settled, Settlement, TransportError},
    };
    use tokio::sync::watch;

    use super::*;

    /// A message's place and nothing else.
    #[derive(Debug)]
    struct Held(Turn);

    #[async_trait]
    impl Settle for Held {
        async fn acknowledge(self: Box<Self>) -> Result<Settled, TransportError> {
            self.0.done();
            Ok(Settled::Done)
        }

        async fn release(self: Box<Self>, _after: Duration) -> Result<Settled, TransportError> {
            Ok(Settled::Done)
        }

        fn lease_lost(&self) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }

    fn came(turns: &Arc<Turns>, key: u64, group: &str) -> (String, Waiting) {
        let incoming = Incoming {
            id: Some(key.to_string().into_bytes()),
            headers: Vec::new(),
            body: Default::default(),
            native: None,
        };
        let held = Held(Turns::turn(turns, group, key));
        let (_, lost) = watch::channel(false);
        let delivery = Delivery::new(incoming, 0, Box::new(held));
        (group.to_owned(), (key, Ok((delivery, lost))))
    }

    /// What was handed out: its name, and the right to settle it.
    fn taken(handed: &mut mpsc::Receiver<Handed>) -> Option<(String, Settlement)> {
        let (delivery, _) = handed.try_recv().ok()?.expect("a message");
        let (incoming, settlement) = delivery.into_parts();
        let id = incoming.id.expect("its name");
        Some((String::from_utf8(id).expect("a text"), settlement))
    }

    #[tokio::test]
    async fn when_the_first_of_a_group_is_done_the_next_one_is_handed_out_and_when_it_is_not_none_is() {
        let (hand, mut handed) = mpsc::channel(8);
        let turns = Arc::new(Turns::new(&hand));
        let all = [(1, "a"), (2, "a"), (3, "b"), (4, "a")];
        turns.enter(all.map(|(key, group)| came(&turns, key, group)).into());
        let (first, settlement) = taken(&mut handed).expect("the first of a group");
        let (other, _held) = taken(&mut handed).expect("the first of another one");
        assert_eq!((first.as_str(), other.as_str()), ("1", "3"));
        assert!(taken(&mut handed).is_none(), "one of each group");
        settlement.acknowledge().await.expect("it is done");
        let (second, settlement) = taken(&mut handed).expect("the next of the group");
        assert_eq!(second, "2");
        // It is given back, and with it what came behind it in the same poll.
        drop(settlement);
        assert!(taken(&mut handed).is_none());
        turns.enter(vec![came(&turns, 5, "a")]);
        assert_eq!(taken(&mut handed).map(|(id, _)| id).as_deref(), Some("5"));
    }
}
