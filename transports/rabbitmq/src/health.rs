//! One health out of the two connections.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use longhaul_core::transport::Health;
use tokio::sync::watch;

use crate::link::LinkState;

/// Collects what both connections report.
#[derive(Debug)]
pub(crate) struct HealthBoard {
    sides: Mutex<Sides>,
    sender: watch::Sender<Health>,
}

#[derive(Debug)]
struct Sides {
    publish: LinkState,
    /// Of every consumer, by number.
    consume: BTreeMap<u64, LinkState>,
    next: u64,
}

/// A consumer's part in the health; ends with it.
#[derive(Debug)]
pub(crate) struct ConsumerHealth {
    board: Arc<HealthBoard>,
    number: u64,
}

impl ConsumerHealth {
    pub(crate) fn set(&self, state: LinkState) {
        self.board
            .change(|sides| drop(sides.consume.insert(self.number, state)));
    }
}

impl Drop for ConsumerHealth {
    fn drop(&mut self) {
        self.board
            .change(|sides| drop(sides.consume.remove(&self.number)));
    }
}

impl HealthBoard {
    pub(crate) fn new() -> Self {
        let down = || "not connected yet".to_owned();
        let sides = Sides {
            publish: LinkState::Down(down()),
            consume: BTreeMap::new(),
            next: 0,
        };
        Self {
            sides: Mutex::new(sides),
            sender: watch::channel(Health::Disconnected(down())).0,
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.sender.subscribe()
    }

    pub(crate) fn publishing(&self, state: LinkState) {
        self.change(|sides| sides.publish = state);
    }

    /// One more consumer.
    pub(crate) fn consumer(self: &Arc<Self>) -> ConsumerHealth {
        let mut number = 0;
        self.change(|sides| {
            number = sides.next;
            sides.next += 1;
        });
        ConsumerHealth {
            board: Arc::clone(self),
            number,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Sides)) {
        let Ok(mut sides) = self.sides.lock() else { return };
        change(&mut sides);
        let health = combine(&sides);
        self.sender.send_if_modified(|current| {
            let changed = *current != health;
            *current = health;
            changed
        });
    }
}

/// The worst of all.
fn combine(sides: &Sides) -> Health {
    let states = || std::iter::once(&sides.publish).chain(sides.consume.values());
    let down = states().find_map(|state| match state {
        LinkState::Down(why) => Some(Health::Disconnected(why.clone())),
        LinkState::Up | LinkState::Blocked(_) => None,
    });
    let blocked = states().find_map(|state| match state {
        LinkState::Blocked(why) => Some(Health::Blocked(why.clone())),
        LinkState::Up | LinkState::Down(_) => None,
    });
    down.or(blocked).unwrap_or(Health::Connected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_either_side_is_down_the_transport_is_disconnected_and_blocked_comes_second() {
        let board = Arc::new(HealthBoard::new());
        let health = board.watch();
        assert!(matches!(*health.borrow(), Health::Disconnected(_)));
        board.publishing(LinkState::Up);
        assert_eq!(*health.borrow(), Health::Connected);
        board.publishing(LinkState::Blocked("memory".into()));
        assert_eq!(*health.borrow(), Health::Blocked("memory".into()));
        let consumer = board.consumer();
        consumer.set(LinkState::Down("cut".into()));
        assert_eq!(*health.borrow(), Health::Disconnected("cut".into()));
        drop(consumer);
        board.publishing(LinkState::Up);
        assert_eq!(*health.borrow(), Health::Connected);
    }
}
