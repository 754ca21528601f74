//! Whose turn it is: of each group one message is handed out at a time, and the next one when that is done with.
//!
//! SQS hands out several messages of a group at once. Where one of them is not done (it is given back, its lease is lost),
//! those behind it are given back too, so that they come again after it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use crate::receive::Handed;

/// A message that waits for its turn, by its key in the ledger.
type Waiting = (u64, Handed);

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

    /// Hands a message out, or has it wait behind another one.
    pub(crate) fn enter(&self, group: &str, key: u64, handed: Handed) {
        let mut state = self.lock();
        if state.is_closed {
            drop(state);
            return drop(handed);
        }
        if let Some(group) = state.groups.get_mut(group) {
            return group.behind.push_back((key, handed));
        }
        let behind = VecDeque::new();
        state
            .groups
            .insert(group.to_owned(), Group { first: key, behind });
        drop(state);
        self.hand_out(handed);
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
