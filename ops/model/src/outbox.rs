//! Sending what is left in the outbox of an endpoint that does not run, as the endpoint itself would.

use std::collections::BTreeMap;

use longhaul_core::clock::Timestamp;
use longhaul_core::store::{PendingChange, PendingKind, PendingRow, UnitOfWork};
use longhaul_core::transport::{Accepted, Destination, Dispatch, Transport, TransportError};
use serde::Serialize;

use crate::errors::copying::is_over;
use crate::errors::error_queue::count;
use crate::errors::{OpsError, Outcome, Progress};
use crate::stored::{PAGE, StoredState, name_of};

/// The most destinations that are told apart.
const MOST_DESTINATIONS: usize = 1_000;

/// Why an event stays.
const UNHEARD: &str = "send it: nobody on this broker subscribes to it; it stays. Look whether it is the endpoint's own broker, \
                       virtual host and prefix";

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Flushed {
    /// How many were to be sent, how many were (or could be), and what went wrong.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How many are due later than the broker can keep them: they stay.
    pub later: u64,
    /// How many are set aside, since they can't be sent, or wait behind one that failed: they stay.
    pub parked: u64,
    /// How many went (or would go) where, for the first thousand destinations.
    pub to: BTreeMap<String, u64>,
}

impl StoredState {
    /// Sends messages that are committed and not sent yet, in the order in which the endpoint would, and notes each as sent once the
    /// broker has confirmed it. No endpoint may be running on the store.
    ///
    /// Wherever it is cut short nothing is lost, and to run it again is safe: what was sent and not noted is sent once more under the
    /// same id. An event that nobody on the broker subscribes to stays, as one that is refused. Timeouts are left to the
    /// endpoint. A dry run sends nothing and says what would be sent.
    ///
    /// # Errors
    /// The store can't be read or written, or the broker can't be reached. Messages that the broker refuses are in the outcome, and
    /// stay as they are.
    pub async fn flush_outbox(
        &self,
        transport: &dyn Transport,
        dry_run: bool,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Flushed, OpsError> {
        let expected = self.store.admin().sizes().await?.unsent;
        let most = transport.capabilities().max_batch.max(1);
        let (mut flushed, mut after) = (Flushed::default(), None);
        loop {
            let page = self.store.admin().pending(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(flushed);
            };
            after = Some(last.clone());
            let rows = self.wanted(page, transport, &mut flushed);
            for some in rows.chunks(most) {
                if dry_run {
                    flushed.try_out(some, transport);
                } else {
                    self.flush_some(some, transport, &mut flushed).await?;
                }
                told(flushed.outcome.progress(expected));
            }
        }
    }

    /// The rows that are to be sent now, as messages.
    fn wanted(
        &self,
        page: Vec<PendingRow>,
        transport: &dyn Transport,
        flushed: &mut Flushed,
    ) -> Vec<Dispatch> {
        let now = self.clock.now();
        let longest = transport.capabilities().max_delay;
        let mut wanted = Vec::new();
        for row in page {
            if row.kind != PendingKind::Message {
                continue;
            }
            flushed.outcome.seen += 1;
            if row.parked.is_some() {
                flushed.parked += 1;
            } else if row.due.is_some_and(|due: Timestamp| due.since(now) > longest) {
                flushed.later += 1;
            } else {
                flushed.outcome.matched += 1;
                wanted.push(Dispatch {
                    envelope: row.outgoing(),
                    to: row.to,
                    due: row.due,
                });
            }
        }
        wanted
    }

    async fn flush_some(
        &self,
        some: &[Dispatch],
        transport: &dyn Transport,
        flushed: &mut Flushed,
    ) -> Result<(), OpsError> {
        let results = transport.dispatch(some).await;
        let (mut sent, mut over) = (Vec::with_capacity(some.len()), None);
        for (dispatch, result) in some.iter().zip(results) {
            match result {
                // The endpoint may have known another broker, or other subscribers: an event that nobody here hears stays.
                Ok(Accepted::NoSubscribers) => {
                    let id = dispatch.envelope.id.as_str();
                    flushed.outcome.fail(Some(id), UNHEARD.to_owned());
                }
                Ok(_) => {
                    sent.push(PendingChange::Sent(dispatch.envelope.id.clone()));
                    flushed.note(&dispatch.to);
                }
                Err(error) => over = flushed.fail(dispatch, error).or(over),
            }
        }
        let done = count(sent.len());
        if done > 0 {
            let work = UnitOfWork {
                pending: sent,
                ..UnitOfWork::default()
            };
            self.store.commit(work).await?;
            flushed.outcome.done += done;
        }
        match over {
            Some(error) if done == 0 => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Flushed {
    fn try_out(&mut self, some: &[Dispatch], transport: &dyn Transport) {
        for dispatch in some {
            match transport.check(dispatch) {
                Ok(()) => {
                    self.outcome.done += 1;
                    self.note(&dispatch.to);
                }
                Err(error) => drop(self.fail(dispatch, error)),
            }
        }
    }

    fn note(&mut self, to: &Destination) {
        let to = name_of(to);
        if self.to.len() < MOST_DESTINATIONS || self.to.contains_key(&to) {
            *self.to.entry(to).or_default() += 1;
        }
    }

    /// Notes what went wrong; the error comes back where others would fare no better.
    fn fail(&mut self, dispatch: &Dispatch, error: TransportError) -> Option<TransportError> {
        let id = dispatch.envelope.id.as_str();
        self.outcome.fail(Some(id), error.to_string());
        Some(error).filter(|error| is_over(error.kind()))
    }
}
