//! Sends what was committed, from memory, in batches that overlap.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, oneshot};
use tracing::Instrument;

use crate::clock::{Clock, Timestamp, within};
use crate::endpoint::attempt::may_still_go;
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::shared::Shared;
use crate::ids::{MessageId, derived_message_id};
use crate::store::{PendingChange, PendingKind, PendingRow};
use crate::transport::{Accepted, Destination, Dispatch, TransportError, TransportErrorKind};

/// Batches under way at once: enough to hide a broker's round trip.
const OVERLAP: usize = 8;

/// What is to be sent, and what happens then.
#[derive(Debug)]
pub(crate) struct Entry {
    dispatch: Dispatch,
    mark: Option<Mark>,
    done: Option<oneshot::Sender<Result<Accepted, TransportError>>>,
}

/// Which row the confirmation belongs to.
#[derive(Debug, Clone)]
struct Mark {
    id: MessageId,
    kind: PendingKind,
    token: u64,
    due: Option<Timestamp>,
}

impl Entry {
    /// Sends a committed row; the confirmation marks it.
    pub(crate) fn of_row(row: &PendingRow) -> Self {
        let mark = Mark {
            id: row.id.clone(),
            kind: row.kind,
            token: row.token,
            due: row.due,
        };
        // An alarm comes one tick after the instant, so that messages of the same instant come first.
        let due = row.due.map(|due| {
            if row.kind == PendingKind::Timeout {
                due + super::settings::TICK
            } else {
                due
            }
        });
        let dispatch = Dispatch {
            envelope: row.outgoing(),
            to: row.to.clone(),
            due,
        };
        Self {
            dispatch,
            mark: Some(mark),
            done: None,
        }
    }

    /// What must never be done: only a mutant does.
    pub(crate) fn renamed(mut self, now: Timestamp) -> Self {
        let id = &self.dispatch.envelope.id;
        self.dispatch.envelope.id = derived_message_id(&[id.as_str(), &now.to_string()], 0);
        self
    }

    /// What must never be done: only a mutant does.
    pub(crate) fn unwatched(dispatch: Dispatch) -> Self {
        Self {
            dispatch,
            mark: None,
            done: None,
        }
    }

    /// Sends a message and tells the outcome.
    fn answered(dispatch: Dispatch) -> (Self, Answer) {
        let (done, answer) = oneshot::channel();
        (
            Self {
                dispatch,
                mark: None,
                done: Some(done),
            },
            answer,
        )
    }
}

/// Committed messages on their way to the broker. Bounded by the endpoint's backlog limit, which stops the intake.
///
/// What the broker refused waits in the store, not here, but counts towards the backlog until it is sent.
#[derive(Debug, Default)]
pub(crate) struct DispatchQueue {
    state: Mutex<QueueState>,
    notify: Notify,
    drained: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<Entry>,
    under_way: usize,
    /// The rows among these, with their tokens.
    rows: HashSet<(MessageId, u64)>,
    /// Rows that were refused and not sent since, each until it must have been tried again: a timeout may fire meanwhile,
    /// or be cancelled, or another process may send the row.
    refused: BTreeMap<MessageId, Timestamp>,
}

impl QueueState {
    fn moving(&self) -> usize {
        self.waiting.len() + self.under_way
    }

    fn backlog(&mut self, now: Timestamp) -> usize {
        self.refused.retain(|_, until| *until > now);
        self.moving() + self.refused.len()
    }
}

impl DispatchQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut state = self.lock();
        for entry in entries {
            if let Some(mark) = &entry.mark {
                state.rows.insert((mark.id.clone(), mark.token));
            }
            state.waiting.push_back(entry);
        }
        drop(state);
        self.notify.notify_one();
    }

    /// Whether the row waits or is under way as it is.
    pub(crate) fn has(&self, row: &PendingRow) -> bool {
        self.lock().rows.contains(&(row.id.clone(), row.token))
    }

    /// How much is committed and not yet sent, as far as this process knows.
    pub(crate) fn backlog(&self, now: Timestamp) -> usize {
        self.lock().backlog(now)
    }

    /// Resolves when the backlog is below `limit`.
    pub(crate) async fn backlog_below(&self, limit: usize, clock: &dyn Clock, patience: Duration) {
        // Nobody tells when what was refused no longer counts.
        while within(
            clock,
            patience,
            self.wait_until(|state| state.backlog(clock.now()) < limit.max(1)),
        )
        .await
        .is_none()
        {}
    }

    /// Resolves when less than `limit` waits or is under way, whatever was refused.
    pub(crate) async fn moving_below(&self, limit: usize) {
        self.wait_until(|state| state.moving() < limit.max(1)).await;
    }

    async fn wait_until(&self, met: impl Fn(&mut QueueState) -> bool) {
        loop {
            let mut drained = pin!(self.drained.notified());
            // Listening begins before the look, so that nothing that happens in between is missed.
            drained.as_mut().enable();
            if met(&mut self.lock()) {
                return;
            }
            drained.await;
        }
    }

    fn refuse(&self, id: &MessageId, until: Timestamp) {
        self.lock().refused.insert(id.clone(), until);
    }

    fn forgive(&self, id: &MessageId) {
        self.lock().refused.remove(id);
    }

    fn take(&self, most: usize) -> Vec<Entry> {
        let mut state = self.lock();
        let most = most.min(state.waiting.len());
        state.under_way += most;
        state.waiting.drain(..most).collect()
    }

    fn finished(&self, rows: Vec<(MessageId, u64)>, count: usize) {
        let mut state = self.lock();
        state.under_way -= count;
        for row in rows {
            state.rows.remove(&row);
        }
        drop(state);
        self.drained.notify_waiters();
    }
}

/// Sends what comes into the queue; never ends.
pub(crate) async fn dispatch_all(shared: &Shared) {
    let most = shared.transport.capabilities().max_batch.max(1);
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < OVERLAP {
            let batch = shared.queue.take(most);
            if batch.is_empty() {
                break;
            }
            under_way.push(send(shared, batch));
        }
        tokio::select! {
            biased;
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            () = shared.queue.notify.notified(), if under_way.len() < OVERLAP => {}
        }
    }
}

/// Sends one batch and notes what became of each entry.
async fn send(shared: &Shared, batch: Vec<Entry>) {
    let count = batch.len();
    let (dispatches, rest): (Vec<Dispatch>, Vec<_>) = batch
        .into_iter()
        .map(|entry| (entry.dispatch, (entry.mark, entry.done)))
        .unzip();
    let rows = rest.iter().filter_map(|(mark, _)| mark.as_ref());
    let rows: Vec<_> = rows.map(|mark| (mark.id.clone(), mark.token)).collect();
    if mutated!(MarkBeforeConfirm) {
        for (mark, _) in &rest {
            mark.iter()
                .for_each(|mark| shared.marks.add(confirmed(shared, mark.clone())));
        }
    }
    pass!(shared, Before Dispatch);
    let answer = within(
        &*shared.clock,
        shared.settings.call_limit,
        shared
            .transport
            .dispatch(&dispatches)
            .instrument(tracing::debug_span!("dispatch", messages = count)),
    )
    .await;
    pass!(shared, After Dispatch);
    let mut results = answer.unwrap_or_default();
    if mutated!(ConfirmOfAnother) && !results.is_empty() {
        results.rotate_left(1);
    }
    if mutated!(PartialFailureIgnored) && results.first().is_some_and(Result::is_ok) {
        results.fill_with(|| Ok(Accepted::Queued));
    }
    pass!(shared, Before NoteAnswers);
    let mut results = results.into_iter();
    for (dispatch, (mark, done)) in dispatches.iter().zip(rest) {
        let result = results.next().unwrap_or_else(|| {
            Err(TransportError::new(
                TransportErrorKind::Unknown,
                "send the message: the broker did not answer in time",
            ))
        });
        note(shared, dispatch, mark, &result);
        if let Some(done) = done {
            // The one who waited may have given up; the row or the redelivery takes care of it.
            drop(done.send(result));
        }
    }
    shared.queue.finished(rows, count);
    pass!(shared, After NoteAnswers);
}

fn note(shared: &Shared, dispatch: &Dispatch, mark: Option<Mark>, result: &Result<Accepted, TransportError>) {
    let now = shared.clock.now();
    match result {
        Ok(accepted) => {
            shared.counters.sent.one();
            if *accepted == Accepted::NoSubscribers {
                shared.counters.without_subscribers.one();
                tracing::debug!(id = %dispatch.envelope.id, "nobody subscribes to the event");
            }
            if let Some(mark) = mark {
                shared.queue.forgive(&mark.id);
                shared.unsent.remove(&mark.id);
                shared.marks.add(confirmed(shared, mark));
            }
        }
        Err(error) => {
            shared.counters.send_failures.one();
            let to = describe(&dispatch.to);
            tracing::warn!(id = %dispatch.envelope.id, %to, %error, "failed to send");
            let Some(mark) = mark else { return };
            // The clock was set back since it was put in line: the relay sends it when the rest fits.
            let longest = shared.longest_delay();
            let too_far = dispatch.due.filter(|due| due.since(now) > longest);
            if let Some(due) = too_far {
                let attention = due - longest;
                shared.marks.add(PendingChange::Defer {
                    id: mark.id,
                    token: Some(mark.token),
                    attention,
                });
                return;
            }
            shared.marks.add(if may_still_go(error) {
                let attention = now + backoff(shared, error.kind());
                // The relay has looked at it by then, and a claim that failed has ended.
                shared.queue.refuse(&mark.id, attention + shared.waits.lease * 2);
                PendingChange::Defer { id: mark.id, token: Some(mark.token), attention }
            } else {
                shared.counters.parked.one();
                shared.queue.forgive(&mark.id);
                shared.unsent.remove(&mark.id);
                tracing::error!(id = %dispatch.envelope.id, %to, %error, "the message can't be sent and is set aside");
                PendingChange::Park { id: mark.id, token: Some(mark.token), reason: error.to_string() }
            });
        }
    }
}

fn confirmed(shared: &Shared, mark: Mark) -> PendingChange {
    match (mark.kind, mark.due) {
        (PendingKind::Timeout, Some(due)) if !mutated!(TimeoutGoneWithAlarm) => {
            let attention = due + shared.settings.grace;
            PendingChange::AlarmSent {
                id: mark.id,
                token: mark.token,
                attention,
            }
        }
        _ => PendingChange::Sent(mark.id),
    }
}

/// A queue that is missing is looked for less often than a broker that was away for a moment.
fn backoff(shared: &Shared, kind: TransportErrorKind) -> Duration {
    match kind {
        TransportErrorKind::Unroutable | TransportErrorKind::Rejected | TransportErrorKind::Denied => {
            shared.waits.again * 10
        }
        _ => shared.waits.again,
    }
}

pub(crate) fn describe(to: &Destination) -> String {
    match to {
        Destination::Queue(queue) => format!("queue {queue}"),
        Destination::Subscribers(event) => format!("subscribers of {event}"),
    }
}

type Answer = oneshot::Receiver<Result<Accepted, TransportError>>;

/// Sends messages through the queue and waits for all answers, within a limit.
pub(crate) async fn send_and_wait(
    shared: &Shared,
    batch: Vec<Dispatch>,
) -> Vec<Result<Accepted, TransportError>> {
    let (entries, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(Entry::answered).unzip();
    shared.queue.push(entries);
    wait_for(shared, answers).await
}

/// Sends committed rows through the queue and waits for all answers, within a limit.
pub(crate) async fn send_rows_and_wait(
    shared: &Shared,
    rows: &[PendingRow],
) -> Vec<Result<Accepted, TransportError>> {
    let entries = rows.iter().map(|row| {
        let (done, answer) = oneshot::channel();
        (
            Entry {
                done: Some(done),
                ..Entry::of_row(row)
            },
            answer,
        )
    });
    let (entries, answers): (Vec<_>, Vec<_>) = entries.unzip();
    shared.queue.push(entries);
    wait_for(shared, answers).await
}

async fn wait_for(shared: &Shared, answers: Vec<Answer>) -> Vec<Result<Accepted, TransportError>> {
    // The limit of one call applies to each batch; waiting behind other batches may take as long again.
    let deadline = shared.clock.now() + shared.settings.call_limit * 2;
    let mut results = Vec::with_capacity(answers.len());
    for answer in answers {
        let left = deadline.since(shared.clock.now());
        results.push(match within(&*shared.clock, left, answer).await {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(TransportError::new(
                TransportErrorKind::Unknown,
                "send the message: the endpoint is not running, or the broker did not answer in time",
            )),
        });
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_refused_row_is_never_heard_of_again_it_stops_counting() {
        let queue = DispatchQueue::default();
        let now = Timestamp::UNIX_EPOCH;
        let id = MessageId::new("m-1").expect("an id");
        queue.refuse(&id, now + Duration::from_secs(60));
        assert_eq!(queue.backlog(now), 1);
        assert_eq!(queue.backlog(now + Duration::from_secs(60)), 0);
    }
}
