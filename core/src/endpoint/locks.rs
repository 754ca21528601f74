//! First come, first served over several keys at once: one message at a time per id and per record.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::ids::MessageId;
use crate::store::RecordKey;

/// What is locked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum LockKey {
    Message(MessageId),
    Record(RecordKey),
}

/// A queue per key. A place is taken in all queues at one moment, so that no two tickets wait for each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyedLocks {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    queues: HashMap<LockKey, VecDeque<u64>>,
    wakers: HashMap<u64, Waker>,
}

impl State {
    fn is_first(&self, ticket: u64, keys: &[LockKey]) -> bool {
        keys.iter()
            .all(|key| self.queues.get(key).and_then(VecDeque::front) == Some(&ticket))
    }
}

impl KeyedLocks {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in every queue, now. The ticket resolves when it is first in all of them, and leaves when dropped.
    pub(crate) fn reserve(&self, mut keys: Vec<LockKey>) -> Ticket {
        let mut state = self.lock();
        state.next += 1;
        let number = state.next;
        let mut at = 0;
        while at < keys.len() {
            if keys[..at].contains(&keys[at]) {
                keys.swap_remove(at);
            } else {
                state
                    .queues
                    .entry(keys[at].clone())
                    .or_default()
                    .push_back(number);
                at += 1;
            }
        }
        Ticket {
            locks: self.clone(),
            number,
            keys,
        }
    }
}

/// A place in the queues; dropped, it leaves them.
#[derive(Debug)]
pub(crate) struct Ticket {
    locks: KeyedLocks,
    number: u64,
    keys: Vec<LockKey>,
}

impl Ticket {
    /// Waits until this ticket is first everywhere.
    pub(crate) fn ready(&self) -> Ready<'_> {
        Ready(self)
    }
}

#[derive(Debug)]
pub(crate) struct Ready<'a>(&'a Ticket);

impl Future for Ready<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ticket = self.0;
        let mut state = ticket.locks.lock();
        if state.is_first(ticket.number, &ticket.keys) {
            state.wakers.remove(&ticket.number);
            return Poll::Ready(());
        }
        state.wakers.insert(ticket.number, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut woken = Vec::new();
        {
            let mut state = self.locks.lock();
            state.wakers.remove(&self.number);
            for key in &self.keys {
                let Some(queue) = state.queues.get_mut(key) else {
                    continue;
                };
                queue.retain(|number| *number != self.number);
                match queue.front().copied() {
                    Some(first) => woken.extend(state.wakers.remove(&first)),
                    None => drop(state.queues.remove(key)),
                }
            }
        }
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn key(name: &str) -> LockKey {
        LockKey::Record(RecordKey::new("things", name))
    }

    #[test]
    fn when_two_want_one_key_the_first_to_come_goes_first() {
        let locks = KeyedLocks::default();
        let (first, second) = (locks.reserve(vec![key("a")]), locks.reserve(vec![key("a")]));
        assert_eq!(second.ready().now_or_never(), None);
        assert_eq!(first.ready().now_or_never(), Some(()));
        drop(first);
        assert_eq!(second.ready().now_or_never(), Some(()));
        drop(second);
        assert!(locks.lock().queues.is_empty());
    }

    #[test]
    fn when_keys_cross_nobody_waits_for_ever() {
        let locks = KeyedLocks::default();
        let (ab, ba) = (
            locks.reserve(vec![key("a"), key("b")]),
            locks.reserve(vec![key("b"), key("a")]),
        );
        assert_eq!(ba.ready().now_or_never(), None);
        assert_eq!(ab.ready().now_or_never(), Some(()));
        drop(ab);
        assert_eq!(ba.ready().now_or_never(), Some(()));
    }

    #[test]
    fn when_a_key_is_named_twice_it_is_taken_once() {
        let locks = KeyedLocks::default();
        let twice = locks.reserve(vec![key("a"), key("a")]);
        assert_eq!(twice.ready().now_or_never(), Some(()));
    }

    #[test]
    fn when_one_that_waits_gives_up_the_next_moves_on() {
        let locks = KeyedLocks::default();
        let (first, second, third) = (
            locks.reserve(vec![key("a")]),
            locks.reserve(vec![key("a")]),
            locks.reserve(vec![key("a")]),
        );
        drop(second);
        drop(first);
        assert_eq!(third.ready().now_or_never(), Some(()));
    }
}
