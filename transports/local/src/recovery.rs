//! Reads what an earlier life of the broker left in the database.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::transport::{TransportError, TransportErrorKind};
use longhaul_embedded::{Database, ReadError, Scan};

use crate::journal::{self, Lazy, Write};
use crate::keys::{self, Kind};
use crate::message::Message;
use crate::state::State;
use crate::stored::{self, StoredMessage, StoredProgress, Unusable};

/// A message, and when it was accepted.
type Found = (Timestamp, Message);

/// The state that is stored, as it stands at `now`.
pub(crate) fn read(database: &Database, now: Timestamp) -> Result<State, TransportError> {
    let mut state = State::default();
    each(database, Kind::Queue, |key, value| {
        stored::decode::<()>(value)?;
        let queue = keys::read_queue(key).ok_or(Unusable::Damaged)?;
        state.create(&queue);
        Ok(())
    })?;
    each(database, Kind::Subscription, |key, value| {
        stored::decode::<()>(value)?;
        let found = keys::read_subscription(key).ok_or(Unusable::Damaged)?;
        if state.queues.contains_key(&found.queue) {
            let queues = state.subscriptions.entry(found.event).or_default();
            queues.insert(found.queue);
        }
        Ok(())
    })?;
    let mut found = messages(database, &mut state)?;
    for (queue, state) in &mut state.queues {
        for message in in_order(found.remove(queue).unwrap_or_default(), now) {
            state.restore(message, now);
        }
    }
    for (queue, left) in found {
        // A crash cut the deletion of a queue short; what is left of it must never get into a new one of that name.
        tracing::info!(%queue, messages = left.len(), "removes what is left of a deleted queue");
        let left = left.iter();
        let writes = left.flat_map(|(_, message)| journal::removal(&queue, message));
        write(&mut state.lazy, writes.collect(), database)?;
    }
    Ok(state)
}

fn messages(database: &Database, state: &mut State) -> Result<BTreeMap<Address, Vec<Found>>, TransportError> {
    let mut progress = BTreeMap::new();
    each(database, Kind::Progress, |key, value| {
        let key = keys::read_message(Kind::Progress, key).ok_or(Unusable::Damaged)?;
        progress.insert(key, stored::decode::<StoredProgress>(value)?);
        Ok(())
    })?;
    let mut found: BTreeMap<Address, Vec<Found>> = BTreeMap::new();
    each(database, Kind::Message, |key, value| {
        let (queue, sequence) = keys::read_message(Kind::Message, key).ok_or(Unusable::Damaged)?;
        if let Some(queue) = state.queues.get_mut(&queue) {
            // Counts for one that can't be read too: nothing may be stored over it.
            queue.start_after(sequence);
        }
        let stored: StoredMessage<'_> = stored::decode(value)?;
        let body = if stored.body_is_apart() {
            let body = database.get(&keys::message(Kind::Body, &queue, sequence));
            body.map_err(|_| Unusable::Damaged)?.ok_or(Unusable::Damaged)?
        } else {
            Bytes::new()
        };
        let progress = progress.remove(&(queue.clone(), sequence));
        let message = Message {
            sequence,
            content: Arc::new(stored.content(body)),
            due: progress.and_then(|it| it.released_until()).or(stored.due()),
            deliveries: progress.map_or(0, |it| it.deliveries),
            recovered: true,
            noted: progress.is_some(),
        };
        found.entry(queue).or_default().push((stored.accepted(), message));
        Ok(())
    })?;
    forget(progress.into_keys(), state, database)?;
    Ok(found)
}

/// Progress whose message is gone must not be that of a later one.
fn forget(
    gone: impl Iterator<Item = (Address, u64)>,
    state: &mut State,
    database: &Database,
) -> Result<(), TransportError> {
    let mut writes = Vec::new();
    for (queue, sequence) in gone {
        if let Some(queue) = state.queues.get_mut(&queue) {
            queue.start_after(sequence);
        }
        writes.push((keys::message(Kind::Progress, &queue, sequence).into(), None));
    }
    write(&mut state.lazy, writes, database)
}

fn write(lazy: &mut Lazy, writes: Vec<Write>, database: &Database) -> Result<(), TransportError> {
    lazy.add(writes, database)
        .map_err(|error| journal::error("open the embedded broker", Some(error)))
}

/// The order in which they came, or would have come, into the line: a delayed one when it was due, and at one instant
/// after the others. A clock that went back between two does not change their order.
fn in_order(mut found: Vec<Found>, now: Timestamp) -> Vec<Message> {
    found.sort_by_key(|(_, message)| message.sequence);
    let mut latest = Timestamp::MIN;
    for (accepted, _) in &mut found {
        latest = latest.max(*accepted);
        *accepted = latest;
    }
    found.sort_by_key(|(accepted, message)| match message.due {
        Some(due) if due <= now => (due, true),
        Some(_) | None => (*accepted, false),
    });
    found.into_iter().map(|(_, message)| message).collect()
}

/// Reads every entry of one kind. A damaged one is left where it is, and told; a newer one ends it.
fn each(
    database: &Database,
    kind: Kind,
    mut read: impl FnMut(&[u8], &[u8]) -> Result<(), Unusable>,
) -> Result<(), TransportError> {
    let all = Scan::prefix(&kind.prefix());
    let mut page = database.scan(&all).map_err(unreadable)?;
    while let Some((last, _)) = page.last().cloned() {
        for (key, value) in &page {
            match read(key, value) {
                Ok(()) => {}
                Err(Unusable::Damaged) => tracing::error!(
                    ?kind,
                    key = %key.escape_ascii(),
                    "leaves out an entry of the embedded broker that can't be read; it stays in the database"
                ),
                Err(Unusable::Newer(version)) => {
                    return Err(TransportError::new(
                        TransportErrorKind::Configuration,
                        format!(
                            "open the embedded broker: its database was written by a newer version (format {version}); \
                             use that version or a later one"
                        ),
                    ));
                }
            }
        }
        page = database.scan(&all.clone().after(&last)).map_err(unreadable)?;
    }
    Ok(())
}

fn unreadable(error: ReadError) -> TransportError {
    let text = "open the embedded broker: its database can't be read; see its own error and mend that";
    TransportError::new(TransportErrorKind::Closed, text).with_source(error)
}
