//! Keeps order behind a message that failed for good: later ones for the same instance wait in the store, and no queue is blocked.
//!
//! Each key of a message that is kept in order has at most one sequence, a record of its own, and only while something of
//! it is in the error queue. The first of a sequence may be handled; when it is, the next is sent on its way. A message
//! takes its place in all its sequences in one commit, so that no two wait for each other.

mod operate;
mod sequence;

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::endpoint::arrival::Original;
use crate::endpoint::compose;
use crate::endpoint::dispatcher::Entry;
use crate::endpoint::error_queue;
use crate::endpoint::failing;
use crate::endpoint::known::Known;
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::process::Ending;
use crate::endpoint::shared::Shared;
use crate::envelope::Envelope;
use crate::handler::HandlerError;
use crate::headers;
use crate::ids::MessageId;
use crate::reason::Reason;
use crate::store::{
    InboxChange, InboxState, LoadRequest, PendingChange, PendingRow, Record, RecordChange, RecordKey, Store,
    StoreError, UnitOfWork,
};

pub use operate::Waiting;
pub(crate) use operate::let_pass;
pub(crate) use sequence::{COLLECTION, Sequence};

/// The most messages of one instance that wait; more go to the error queue.
const MOST: usize = 1000;

/// What a message is kept in order by, each once, with its name: its own key, and these records.
pub(crate) fn keys<'a>(
    envelope: &Envelope,
    records: impl Iterator<Item = &'a RecordKey>,
) -> BTreeMap<RecordKey, String> {
    let header = envelope.headers.get(headers::ORDERING_KEY);
    let by_header = header.map(|value| (sequence::key(&["key", value]), value.to_owned()));
    let by_record = records.map(|key| {
        let name = format!("{}/{}", key.collection, key.id);
        (sequence::key(&["record", &key.collection, &key.id]), name)
    });
    by_header.into_iter().chain(by_record).collect()
}

/// The sequences that one message belongs to, as they were loaded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quarantine {
    sequences: Vec<Sequence>,
}

/// What follows when a message leaves its sequences: the next are sent on their way.
#[derive(Debug, Default)]
pub(crate) struct Advance {
    pub(crate) records: Vec<RecordChange>,
    pub(crate) rows: Vec<PendingRow>,
}

impl Advance {
    /// Adds it to a commit, and says what to send once that is through.
    pub(crate) fn join(self, shared: &Shared, now: Timestamp, work: &mut UnitOfWork) -> Vec<Entry> {
        let mut rows = self.rows;
        let entries = compose::entries(shared, now, &mut rows);
        work.records.extend(self.records);
        let rows = rows.into_iter().map(|row| PendingChange::Add(Box::new(row)));
        work.pending.extend(rows);
        entries
    }
}

impl Quarantine {
    /// Reads what was loaded for the keys.
    pub(crate) fn read(
        keys: &BTreeMap<RecordKey, String>,
        records: Vec<Option<Record>>,
    ) -> Result<Self, StoreError> {
        let sequences = keys
            .iter()
            .zip(records.into_iter().chain(std::iter::repeat(None)));
        let sequences = sequences.map(|((key, name), record)| Sequence::read(key, name, record));
        Ok(Self {
            sequences: sequences.collect::<Result<_, _>>()?,
        })
    }

    /// As [`Quarantine::read`]; where that fails nothing is known of any order, and the message goes its way without.
    pub(crate) fn readable(keys: &BTreeMap<RecordKey, String>, records: Vec<Option<Record>>) -> Self {
        Self::read(keys, records).unwrap_or_else(|error| {
            tracing::error!(%error, "what waits in order can't be read: a message that fails takes no place in it");
            Self::default()
        })
    }

    /// The message that this one must wait for.
    pub(crate) fn blocked_by(&self, original: &Original<'_>) -> Option<&MessageId> {
        let mut firsts = self.sequences.iter().filter_map(|sequence| {
            let first = sequence.first()?;
            (sequence.place(original) != Some(0)).then_some(first)
        });
        firsts.next()
    }

    /// The message takes its place in every sequence, where it does not stand there already; `row` is where it waits.
    pub(crate) fn enter(&self, original: &Original<'_>, row: Option<&MessageId>) -> Vec<RecordChange> {
        let changed = self.sequences.iter().filter_map(|sequence| {
            let mut sequence = sequence.clone();
            sequence.enter(original, row).then(|| sequence.change())
        });
        changed.flatten().collect()
    }

    /// What it is kept in order by, for people; one a line.
    pub(crate) fn names(&self) -> Option<String> {
        let names: Vec<_> = self.sequences.iter().map(Sequence::name).collect();
        (!names.is_empty()).then(|| names.join("\n"))
    }

    fn is_full_for(&self, original: &Original<'_>) -> bool {
        self.sequences
            .iter()
            .any(|sequence| sequence.place(original).is_none() && sequence.len() >= MOST)
    }

    /// The message leaves its sequences.
    pub(crate) async fn leave(
        &self,
        shared: &Shared,
        store: &dyn Store,
        original: &Original<'_>,
    ) -> Result<Advance, StoreError> {
        let mut advance = Advance::default();
        for sequence in &self.sequences {
            let mut sequence = sequence.clone();
            let Some(was_first) = sequence.leave(original) else {
                continue;
            };
            if was_first
                && !mutated!(NextForgotten)
                && let Some(row) = next(shared, store, &mut sequence).await?
            {
                advance.rows.retain(|other| other.id != row.id);
                advance.rows.push(row);
            }
            advance.records.extend(sequence.change());
        }
        Ok(advance)
    }
}

/// The row of the first that still waits, ready to be sent. One without a row is passed over when it is done with; otherwise
/// it is on its way already, because it was the first of another sequence too, and goes first.
async fn next(
    shared: &Shared,
    store: &dyn Store,
    sequence: &mut Sequence,
) -> Result<Option<PendingRow>, StoreError> {
    while let Some((message, row)) = sequence.first_waiting() {
        let now = shared.clock.now();
        let request = LoadRequest {
            inbox: message.clone(),
            records: Vec::new(),
            pending: Some(row.clone()),
            now,
        };
        let loaded = shared.load(store, &request).await?;
        if let Some(row) = loaded.pending {
            return Ok(Some(PendingRow {
                parked: None,
                attention: now + shared.waits.young,
                ..row
            }));
        }
        if !matches!(loaded.inbox, None | Some(InboxState::Done)) {
            break;
        }
        sequence.pass_over();
    }
    Ok(None)
}

/// Has a message wait behind the one that failed: in the store, under its own id and with as many attempts behind it as before.
pub(crate) async fn set_aside(
    shared: &Shared,
    store: &dyn Store,
    original: &Original<'_>,
    known: &Known,
    quarantine: &Quarantine,
    first: &MessageId,
) -> Ending {
    let why = format!("waits behind {first}, which is in the error queue or about to be handled again");
    if quarantine.is_full_for(original) {
        let text = format!("handle the message in its order: it {why}, and too many wait already");
        let error = HandlerError::permanent(text).with_reason(Reason::Quarantined);
        return error_queue::give_up(shared, original, known, &error, &Quarantine::default()).await;
    }
    let now = shared.clock.now();
    let known = Known {
        generation: known.generation.saturating_add(1),
        deferred: known.deferred.saturating_add(1),
        ..*known
    };
    let copy = failing::copy(shared, original.envelope, now, std::time::Duration::ZERO, &known);
    let row = PendingRow {
        due: None,
        parked: Some(why),
        ..copy
    };
    let mut work = UnitOfWork {
        inbox: vec![InboxChange {
            id: original.id().clone(),
            expected: known.state,
            next: Some(known.scheduled(now)),
            at: now,
        }],
        records: quarantine.enter(original, Some(&row.id)),
        pending: vec![PendingChange::Add(Box::new(row))],
    };
    if let Some(id) = original.row.clone() {
        let reason = format!("waits behind {first}");
        let token = original.token();
        work.pending.push(PendingChange::Park { id, token, reason });
    }
    pass!(shared, Before ScheduleRetry);
    let committed = shared.commit(store, work).await;
    pass!(shared, After ScheduleRetry);
    match committed {
        Ok(()) => {
            shared.begun.forget(original.id());
            shared.counters.set_aside.one();
            tracing::debug!(id = %original.id(), %first, "waits behind a message that failed");
            Ending::Settled
        }
        Err(error) => {
            tracing::warn!(id = %original.id(), %error, "could not have a message wait in its order; it is given back");
            Ending::GiveBack
        }
    }
}

/// A message that does not count any more leaves its sequences.
pub(crate) async fn drop_out(
    shared: &Shared,
    store: &dyn Store,
    original: &Original<'_>,
    quarantine: &Quarantine,
) -> Ending {
    let mut work = UnitOfWork::default();
    let left = quarantine.leave(shared, store, original).await;
    let left = left.map(|advance| advance.join(shared, shared.clock.now(), &mut work));
    if work.is_empty() && left.is_ok() {
        return Ending::Settled;
    }
    let committed = match left {
        Ok(entries) => shared.commit(store, work).await.map(|()| entries),
        Err(error) => Err(error),
    };
    match committed {
        Ok(entries) => {
            shared.queue.push(entries);
            Ending::Settled
        }
        Err(error) => {
            tracing::warn!(id = %original.id(), %error, "could not let those pass that waited behind a message; it is given back");
            Ending::GiveBack
        }
    }
}
