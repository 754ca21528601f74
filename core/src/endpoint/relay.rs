//! Sends what a crash or a refusal left behind, and fires timeouts that the broker lost.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::{Timestamp, within};
use crate::endpoint::dispatcher::Entry;
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::settings::CLAIM;
use crate::endpoint::shared::Shared;
use crate::store::{PendingChange, PendingKind, PendingRow, Store};

/// When the relay must look next.
#[derive(Debug, Default)]
pub(crate) struct RelaySignal {
    state: Mutex<Looks>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Looks {
    next: Option<Timestamp>,
    /// Until then a commit of unknown outcome may bring rows that were not there at the last look.
    doubtful: Option<Timestamp>,
}

impl RelaySignal {
    fn lock(&self) -> MutexGuard<'_, Looks> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that the relay looks at `at` or before.
    pub(crate) fn look_at(&self, at: Timestamp) {
        let mut looks = self.lock();
        if looks.next.is_none_or(|have| at < have) {
            looks.next = Some(at);
            self.notify.notify_one();
        }
    }

    /// Makes sure that the relay looks from time to time until `at`.
    pub(crate) fn doubt_until(&self, at: Timestamp) {
        let mut looks = self.lock();
        looks.doubtful = looks.doubtful.max(Some(at));
    }

    fn reset(&self) {
        self.lock().next = None;
    }

    /// Whether rows may have come that nobody told of.
    fn is_in_doubt(&self, now: Timestamp) -> bool {
        let mut looks = self.lock();
        looks.doubtful = looks.doubtful.filter(|until| *until > now);
        looks.doubtful.is_some()
    }

    async fn wait(&self, shared: &Shared) {
        loop {
            let next = self.lock().next;
            let now = shared.clock.now();
            match next {
                Some(at) if at <= now => return,
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = self.notify.notified() => {}
                        () = shared.clock.sleep_until(at) => {}
                    }
                }
                None => self.notify.notified().await,
            }
        }
    }
}

/// A timeout that fires without the broker.
pub(crate) type Overdue = PendingRow;

/// Claims due rows and sends them; overdue timeouts go to `fire`. Never ends.
pub(crate) async fn relay(shared: &Shared, fire: &tokio::sync::mpsc::Sender<Overdue>) {
    let Some(store) = shared.store.as_deref() else {
        return std::future::pending().await;
    };
    let mut purge_at = shared.clock.now();
    loop {
        let now = shared.clock.now();
        if now >= purge_at {
            purge(shared, store).await;
            purge_at = now + shared.settings.purge_interval;
        }
        shared.queue.moving_below(shared.settings.backlog).await;
        shared.relay.reset();
        claim(shared, store, fire).await;
        if store.is_shared() {
            shared
                .relay
                .look_at(shared.clock.now() + shared.settings.poll_interval);
        }
        let now = shared.clock.now();
        if shared.relay.is_in_doubt(now) {
            shared.relay.look_at(now + shared.waits.young);
        }
        // Purging has no row that would wake the relay.
        shared.relay.look_at(purge_at);
        shared.relay.wait(shared).await;
    }
}

async fn claim(shared: &Shared, store: &dyn Store, fire: &tokio::sync::mpsc::Sender<Overdue>) {
    let now = shared.clock.now();
    if mutated!(RelayOff) {
        return;
    }
    pass!(shared, Before ClaimDue);
    let answer = within(
        &*shared.clock,
        shared.settings.call_limit,
        store.claim_due(now, shared.waits.lease, CLAIM),
    )
    .await;
    pass!(shared, After ClaimDue);
    let claimed = match answer {
        Some(Ok(claimed)) => claimed,
        Some(Err(error)) => {
            tracing::warn!(%error, "could not look for due work; trying again");
            shared.relay.look_at(now + shared.waits.again);
            return;
        }
        None => {
            tracing::warn!("the store did not answer in time; trying again");
            shared.relay.look_at(now + shared.waits.again);
            return;
        }
    };
    if claimed.rows.len() == CLAIM {
        shared.relay.look_at(now);
    }
    if let Some(next) = claimed.next {
        shared.relay.look_at(next);
    }
    if !claimed.rows.is_empty() {
        shared.relay.look_at(now + shared.waits.lease);
    }
    let mut overdue = Vec::new();
    for row in claimed.rows {
        if row.kind == PendingKind::Timeout && row.due.is_some_and(|due| due < now) {
            overdue.push(row);
        } else {
            pass!(shared, Before RelayRow);
            relay_row(shared, now, row);
            pass!(shared, After RelayRow);
        }
    }
    fire_all(shared, overdue, fire).await;
}

/// Hands overdue timeouts over as the endpoint takes them; after half a claim's time the rest is left to the next look, so
/// that other rows don't wait for a busy endpoint.
async fn fire_all(shared: &Shared, overdue: Vec<PendingRow>, fire: &tokio::sync::mpsc::Sender<Overdue>) {
    let all = async {
        for row in overdue {
            shared.counters.overdue.one();
            tracing::debug!(id = %row.id, name = %row.name, "an overdue timeout fires without the broker");
            pass!(shared, Before FireOverdue);
            // The run loop is gone only when the endpoint stops; the row stays.
            drop(fire.send(row).await);
            pass!(shared, After FireOverdue);
        }
    };
    if within(&*shared.clock, shared.waits.lease / 2, all)
        .await
        .is_none()
    {
        tracing::debug!("the endpoint is busy: some overdue timeouts fire later");
    }
}

fn relay_row(shared: &Shared, now: Timestamp, row: PendingRow) {
    let due = row.due.unwrap_or(now);
    let longest = shared.longest_delay();
    if due.since(now) > longest {
        // Too far for the broker: look again when the rest fits.
        let attention = due - longest;
        shared.marks.add(PendingChange::Defer {
            id: row.id,
            token: (!mutated!(MoveOverridden)).then_some(row.token),
            attention,
        });
    } else {
        if shared.queue.has(&row) {
            // It waits for a slow broker; the claim ends by itself.
            return;
        }
        let entry = Entry::of_row(&row);
        shared.queue.push([if mutated!(NewIdOnResend) {
            entry.renamed(now)
        } else {
            entry
        }]);
    }
}

async fn purge(shared: &Shared, store: &dyn Store) {
    const AT_ONCE: usize = 1000;
    let now = shared.clock.now();
    loop {
        let purge = store.admin().purge(now - shared.settings.retention, now, AT_ONCE);
        pass!(shared, Before Purge);
        let gone = within(&*shared.clock, shared.settings.call_limit, purge).await;
        pass!(shared, After Purge);
        match gone {
            Some(Ok(gone)) if gone >= AT_ONCE => {}
            Some(Ok(_)) => return,
            Some(Err(error)) => return tracing::warn!(%error, "could not remove what is no longer needed"),
            None => return tracing::warn!("the store took too long to remove what is no longer needed"),
        }
    }
}
