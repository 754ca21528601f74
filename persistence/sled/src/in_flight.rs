//! Units that were handed to the engine and are not settled yet, in the order in which they take effect.
//!
//! The answers are kept here as well as with whoever waits for them, so that the memory of a store follows what is
//! durable even where nobody waits any more.

use std::collections::{HashMap, VecDeque};

use futures_util::FutureExt;
use futures_util::future::Shared;
use longhaul_core::ids::MessageId;
use longhaul_core::store::RecordKey;
use longhaul_embedded::Commit;

use crate::index::Entry;

/// The answer to one unit; clones resolve alike.
pub(crate) type Answer = Shared<Commit>;

/// Something that a unit changes, whose state in memory or on disk is open until the unit is settled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Touched {
    Row(MessageId),
    Record(RecordKey),
}

/// What a unit changes in memory once it is durable.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) rows: Vec<(MessageId, Option<Entry>)>,
    /// Messages that are known from then on, less those that are forgotten.
    pub(crate) inbox: i64,
    /// Records that exist from then on, less those that are gone.
    pub(crate) records: i64,
}

#[derive(Debug)]
struct Unit {
    answer: Answer,
    effects: Effects,
    touched: Vec<Touched>,
}

/// The units in flight of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    units: VecDeque<Unit>,
    /// The number of the first of them.
    first: u64,
    /// The number of the last unit that touches something.
    touched: HashMap<Touched, u64>,
}

impl InFlight {
    pub(crate) fn push(&mut self, answer: Answer, effects: Effects, touched: Vec<Touched>) {
        let number = self.first + self.units.len() as u64;
        self.touched
            .extend(touched.iter().map(|touched| (touched.clone(), number)));
        self.units.push_back(Unit {
            answer,
            effects,
            touched,
        });
    }

    /// The answer to wait for before the state of `touched` is known.
    pub(crate) fn touching(&self, touched: &Touched) -> Option<Answer> {
        let number = self.touched.get(touched)?.checked_sub(self.first)?;
        let unit = self.units.get(usize::try_from(number).ok()?)?;
        Some(unit.answer.clone())
    }

    /// Takes out the first unit, if it is settled. Returns what it changes, which is nothing if it has failed.
    pub(crate) fn settled(&mut self) -> Option<Effects> {
        let answer = self.units.front()?.answer.clone().now_or_never()?;
        let unit = self.units.pop_front()?;
        for touched in unit.touched {
            if self.touched.get(&touched) == Some(&self.first) {
                self.touched.remove(&touched);
            }
        }
        self.first += 1;
        Some(if answer.is_ok() {
            unit.effects
        } else {
            Effects::default()
        })
    }
}
