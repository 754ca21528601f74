//! Replaying: messages go back to where they came from, under the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use longhaul_core::address::Address;
use longhaul_core::admin::Found;
use longhaul_core::headers;
use longhaul_core::transport::{Destination, Dispatch};

use crate::errors::copying::{Copy, Pace, copy};
use crate::errors::error::OpsError;
use crate::errors::error_queue::{ErrorQueue, count};
use crate::errors::failed::{Failed, header};
use crate::errors::filter::Selection;
use crate::errors::progress::{Outcome, Problem, Progress};
use crate::errors::resend;
use crate::errors::walk::{PAGE, Walk};

/// The most destinations that a preview tells apart.
const MOST_DESTINATIONS: usize = 1_000;
/// The most problems that a preview tells one by one.
const MOST_PROBLEMS: usize = 20;

/// What is to be replayed, where to and how fast.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Which messages.
    pub selection: Selection,
    /// Where they go.
    pub target: Target,
    /// How many at most in a second; as fast as the broker takes them if not given.
    pub per_second: Option<NonZeroU32>,
}

/// Where a failed message is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To the queue that it came from.
    Source,
    /// To this queue, whatever it says.
    Queue(Address),
}

impl Target {
    pub(crate) fn of(&self, found: &Found) -> Result<Address, String> {
        match self {
            Self::Queue(queue) => Ok(queue.clone()),
            Self::Source => {
                let Some(source) = header(&found.incoming, headers::ERROR_SOURCE) else {
                    return Err(
                        "find its source queue: it does not say where it came from; name a queue".to_owned(),
                    );
                };
                Address::new(source).map_err(|error| error.to_string())
            }
        }
    }
}

/// What a replay would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// How many messages were looked at.
    pub seen: u64,
    /// How many were meant.
    pub matched: u64,
    /// How many would go where, for the first thousand queues.
    pub to: BTreeMap<Address, u64>,
    /// How many later messages are kept in order behind.
    pub holding: u64,
    /// How many can't be sent again.
    pub impossible: u64,
    /// Why, for the first twenty.
    pub problems: Vec<Problem>,
    /// Ids that were asked for and that no message has.
    pub missing: BTreeSet<String>,
}

impl ErrorQueue {
    /// What a replay would do. Sends and removes nothing.
    ///
    /// # Errors
    /// See [`OpsErrorKind`](crate::errors::OpsErrorKind).
    pub async fn preview(
        &self,
        selection: &Selection,
        target: &Target,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Preview, OpsError> {
        let mut walk = Walk::begin(self).await?;
        let previewed = self.preview_in(&mut walk, selection, target, told).await;
        walk.end(previewed).await
    }

    async fn preview_in(
        &self,
        walk: &mut Walk,
        selection: &Selection,
        target: &Target,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Preview, OpsError> {
        let now = self.clock.now();
        let mut preview = Preview {
            missing: selection.ids(),
            ..Preview::default()
        };
        loop {
            let page = walk.page(PAGE).await?;
            if page.is_empty() {
                return Ok(preview);
            }
            preview.seen += count(page.len());
            for found in &page {
                let failed = Failed::of(found);
                if selection.takes(&failed, now) {
                    preview.holding += u64::from(!failed.order.is_empty());
                    preview.note(failed, copy_of(found, target));
                }
            }
            told(Progress {
                expected: walk.expected(),
                seen: preview.seen,
                done: preview.matched,
                failed: preview.impossible,
            });
        }
    }

    /// Sends messages again under their ids, without the reasons why they failed, and takes each out once its copy is
    /// confirmed.
    ///
    /// A body that is kept elsewhere stays there; see [`ErrorQueue::with_bodies`].
    ///
    /// Wherever it is cut short nothing is lost, and to run it again is safe: what had been sent already is sent once more under the
    /// same id, and an endpoint does it once.
    ///
    /// # Errors
    /// See [`OpsErrorKind`](crate::errors::OpsErrorKind). Messages that can't be sent are in the outcome, and stay.
    pub async fn replay(
        &self,
        replay: &Replay,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Outcome, OpsError> {
        let mut walk = Walk::begin(self).await?;
        let replayed = self.replay_in(&mut walk, replay, told).await;
        walk.end(replayed).await
    }

    async fn replay_in(
        &self,
        walk: &mut Walk,
        replay: &Replay,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Outcome, OpsError> {
        let (now, expected) = (self.clock.now(), walk.expected());
        let mut pace = Pace::new(Arc::clone(&self.clock), replay.per_second);
        let mut outcome = Outcome::about(&replay.selection);
        loop {
            let page = walk.page(PAGE).await?;
            if page.is_empty() {
                return Ok(outcome);
            }
            let mut copies = Vec::with_capacity(page.len());
            for found in page {
                outcome.seen += 1;
                let failed = Failed::of(&found);
                if !replay.selection.takes(&failed, now) {
                    continue;
                }
                outcome.meet(&failed);
                let copied = match copy_of(&found, &replay.target) {
                    Ok((_, copy)) => self.keep_young(&found.incoming).await.map(|()| copy),
                    Err(why) => Err(why),
                };
                match copied {
                    Ok(copy) => copies.push(copy),
                    Err(why) => outcome.fail(failed.id.as_deref(), why),
                }
            }
            let mut tell = |outcome: &Outcome| told(outcome.progress(expected));
            copy(&*self.transport, walk, copies, &mut pace, &mut outcome, &mut tell).await?;
            tell(&outcome);
        }
    }
}

impl Preview {
    fn note(&mut self, failed: Failed, copy: Result<(Address, Copy), String>) {
        self.matched += 1;
        if let Some(id) = &failed.id {
            self.missing.remove(id);
        }
        match copy {
            Ok((to, _)) if self.to.contains_key(&to) || self.to.len() < MOST_DESTINATIONS => {
                *self.to.entry(to).or_default() += 1;
            }
            Ok(_) => {}
            Err(why) => {
                self.impossible += 1;
                if self.problems.len() < MOST_PROBLEMS {
                    self.problems.push(Problem { id: failed.id, why });
                }
            }
        }
    }
}

fn copy_of(found: &Found, target: &Target) -> Result<(Address, Copy), String> {
    let to = target.of(found)?;
    let dispatch = Dispatch {
        envelope: resend::replayed(&found.incoming)?,
        to: Destination::Queue(to.clone()),
        due: None,
    };
    let place = found.place;
    Ok((to, Copy { place, dispatch }))
}
