//! Units that were handed to the engine and are not settled yet, in the order in which they take effect.
//!
//! They are kept here and not with whoever waits for them, so that the memory of a store follows what is durable also
//! where nobody waits any more.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::task::{Context, Poll};

use longhaul_core::ids::MessageId;
use longhaul_core::store::RecordKey;
use longhaul_embedded::{Commit, CommitError};
use tokio::sync::oneshot;
use tokio::task::coop::unconstrained;

use crate::index::Entry;

/// What became of a unit.
pub(crate) type Answer = Result<(), CommitError>;

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
    commit: Commit,
    effects: Effects,
    touched: Vec<Touched>,
    waiting: Vec<oneshot::Sender<Answer>>,
}

/// A unit that is settled, and who is to be told.
#[derive(Debug)]
pub(crate) struct Settled {
    answer: Answer,
    waiting: Vec<oneshot::Sender<Answer>>,
}

impl Settled {
    /// Tells everybody who still waits.
    pub(crate) fn tell(self) {
        for waiting in self.waiting {
            drop(waiting.send(self.answer.clone()));
        }
    }
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
    /// Adds a unit behind all others. What is returned resolves when it is settled.
    pub(crate) fn push(
        &mut self,
        commit: Commit,
        effects: Effects,
        touched: Vec<Touched>,
    ) -> oneshot::Receiver<Answer> {
        let number = self.first + self.units.len() as u64;
        self.touched
            .extend(touched.iter().map(|touched| (touched.clone(), number)));
        let (told, settled) = oneshot::channel();
        self.units.push_back(Unit {
            commit,
            effects,
            touched,
            waiting: vec![told],
        });
        settled
    }

    /// Resolves when the last unit that touches this is settled; none when nothing in flight does.
    pub(crate) fn touching(&mut self, touched: &Touched) -> Option<oneshot::Receiver<Answer>> {
        let number = self.touched.get(touched)?.checked_sub(self.first)?;
        let unit = self.units.get_mut(usize::try_from(number).ok()?)?;
        let (told, settled) = oneshot::channel();
        unit.waiting.push(told);
        Some(settled)
    }

    /// Takes out the first unit if it is settled, with what it changes, which is nothing if it has failed. If it is
    /// not, `context` is woken when it is.
    pub(crate) fn next_settled(&mut self, context: &mut Context<'_>) -> Option<(Effects, Settled)> {
        // Unconstrained: the answer is taken when it is there, even where a task has used up its time.
        let commit = pin!(unconstrained(&mut self.units.front_mut()?.commit));
        let Poll::Ready(answer) = commit.poll(context) else {
            return None;
        };
        let unit = self.units.pop_front()?;
        for touched in unit.touched {
            if self.touched.get(&touched) == Some(&self.first) {
                self.touched.remove(&touched);
            }
        }
        self.first += 1;
        let effects = if answer.is_ok() {
            unit.effects
        } else {
            Effects::default()
        };
        let waiting = unit.waiting;
        Some((effects, Settled { answer, waiting }))
    }
}
