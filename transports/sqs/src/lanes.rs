//! Who sends to a group next: calls of one transport that have messages for the same group of a queue send one after the
//! other, in the order in which they were made.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// A queue and one of its groups.
pub(crate) type Lane = (String, String);

/// Places in all lanes; as many as there are calls under way. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    lanes: BTreeMap<Lane, VecDeque<u64>>,
    changed: Arc<Notify>,
}

/// One call's places, which it leaves when it is dropped.
#[derive(Debug)]
pub(crate) struct Places {
    lanes: Lanes,
    number: u64,
    all: BTreeSet<Lane>,
}

impl Lanes {
    /// Takes places in all of these lanes at one moment, so that no two calls wait for each other.
    pub(crate) fn enter(&self, all: BTreeSet<Lane>) -> Places {
        let mut state = self.lock();
        state.next += 1;
        let number = state.next;
        for lane in &all {
            state.lanes.entry(lane.clone()).or_default().push_back(number);
        }
        Places {
            lanes: self.clone(),
            number,
            all,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// Waits until this call is the first everywhere.
    pub(crate) async fn turn(&self) {
        loop {
            let changed = {
                let state = self.lanes.lock();
                let is_first = |lane| state.lanes.get(lane).and_then(VecDeque::front) == Some(&self.number);
                if self.all.iter().all(is_first) {
                    return;
                }
                // It listens from here on, so that nothing is missed.
                Arc::clone(&state.changed).notified_owned()
            };
            changed.await;
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let mut state = self.lanes.lock();
        for lane in &self.all {
            if let Some(queue) = state.lanes.get_mut(lane) {
                queue.retain(|number| *number != self.number);
                if queue.is_empty() {
                    state.lanes.remove(lane);
                }
            }
        }
        state.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn lanes(groups: &[&str]) -> BTreeSet<Lane> {
        let lane = |group: &&str| ("sales.fifo".to_owned(), (*group).to_owned());
        groups.iter().map(lane).collect()
    }

    #[test]
    fn when_calls_share_a_group_they_go_in_order_and_others_at_once() {
        let all = Lanes::default();
        let (first, second) = (all.enter(lanes(&["a", "b"])), all.enter(lanes(&["b", "c"])));
        let (third, other) = (all.enter(lanes(&["c"])), all.enter(lanes(&["d"])));
        let is_next = |places: &Places| places.turn().now_or_never().is_some();
        assert!(is_next(&first) && is_next(&other));
        assert!(!is_next(&second) && !is_next(&third));
        let mut waiting = Box::pin(second.turn());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        assert!(waiting.as_mut().now_or_never().is_some(), "it hears of it");
        drop(waiting);
        assert!(!is_next(&third));
        // One that is given up holds nobody up.
        drop(second);
        assert!(is_next(&third));
        drop((third, other));
        assert!(all.lock().lanes.is_empty());
    }
}
