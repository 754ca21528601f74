//! Discarding: failed messages are taken out for good, and what waits in order behind them may pass.

use longhaul_core::admin::{Found, Place};
use longhaul_core::control::LetPass;
use longhaul_core::ids::MessageId;
use serde::Serialize;

use crate::control;
use crate::errors::error::{OpsError, OpsErrorKind};
use crate::errors::error_queue::{ErrorQueue, count};
use crate::errors::failed::Failed;
use crate::errors::filter::Selection;
use crate::errors::progress::{Outcome, Progress};
use crate::errors::replay::Target;
use crate::errors::walk::{PAGE, Walk};

/// The most messages with others in order behind them that are told one by one.
const MOST_HOLDING: usize = 20;

/// What is to be discarded.
#[derive(Debug, Clone)]
pub struct Discard {
    /// Which messages.
    pub selection: Selection,
    /// Whether what waits in order behind them may pass: their endpoints are told so, before the messages are taken out.
    pub let_pass: bool,
}

/// What came of discarding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Discarded {
    /// How many were taken out.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How many of them later messages were kept in order behind.
    pub held: u64,
    /// The first twenty of those.
    pub holding: Vec<Holding>,
}

/// A failed message that later ones are kept in order behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holding {
    /// Which.
    pub id: Option<String>,
    /// The endpoint that keeps the order.
    pub endpoint: Option<String>,
    /// What they are kept in order by.
    pub order: Vec<String>,
}

impl ErrorQueue {
    /// Takes messages out for good. Where later messages may wait in order behind one, it is in what comes back; whether any do, only the
    /// endpoint knows.
    ///
    /// # Errors
    /// See [`OpsErrorKind`]; what was taken out until then is gone. A message whose endpoint could not be told is in the outcome,
    /// and stays.
    pub async fn discard(
        &self,
        discard: &Discard,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Discarded, OpsError> {
        let mut walk = Walk::begin(self).await?;
        let discarded = self.discard_in(&mut walk, discard, told).await;
        walk.end(discarded).await
    }

    async fn discard_in(
        &self,
        walk: &mut Walk,
        discard: &Discard,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Discarded, OpsError> {
        let now = self.clock.now();
        let mut discarded = Discarded {
            outcome: Outcome::about(&discard.selection),
            ..Discarded::default()
        };
        loop {
            let page = walk.page(PAGE).await?;
            if page.is_empty() {
                return Ok(discarded);
            }
            let mut places: Vec<Place> = Vec::with_capacity(page.len());
            for found in &page {
                discarded.outcome.seen += 1;
                let failed = Failed::of(found);
                if !discard.selection.takes(&failed, now) {
                    continue;
                }
                discarded.outcome.meet(&failed);
                if !failed.order.is_empty() {
                    // First, for nobody would know of those that wait if this were cut short between the two.
                    if discard.let_pass
                        && let Err(error) = self.let_pass(found).await
                    {
                        discarded.outcome.fail(failed.id.as_deref(), error.to_string());
                        continue;
                    }
                    discarded.note(failed);
                }
                places.push(found.place);
            }
            walk.remove(&places).await?;
            discarded.outcome.done += count(places.len());
            told(discarded.outcome.progress(walk.expected()));
        }
    }

    /// Tells the endpoint of a failed message that it does not come back.
    async fn let_pass(&self, found: &Found) -> Result<(), OpsError> {
        let invalid = |why: String| OpsError::new(OpsErrorKind::Invalid, why);
        let endpoint = Target::Source.of(found).map_err(invalid)?;
        let id = found
            .incoming
            .id
            .as_deref()
            .and_then(|id| std::str::from_utf8(id).ok());
        let first = MessageId::new(id.unwrap_or_default()).map_err(|error| invalid(error.to_string()))?;
        let command = control::let_pass(LetPass { first }, self.clock.now())?;
        control::send(&*self.transport, &endpoint, command).await
    }
}

impl Discarded {
    fn note(&mut self, failed: Failed) {
        self.held += 1;
        if self.holding.len() < MOST_HOLDING {
            self.holding.push(Holding {
                id: failed.id,
                endpoint: failed.endpoint,
                order: failed.order,
            });
        }
    }
}
