//! What a durable broker writes: changes that somebody waits for, and changes that may be lost.

use std::collections::VecDeque;
use std::fmt;
use std::task::Waker;

use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::transport::{TransportError, TransportErrorKind};
use longhaul_embedded::{Batch, CommitError, CommitErrorKind, Database};

use crate::claim::Claim;
use crate::keys::{self, Kind};
use crate::message::{Message, Note};
use crate::stored::{self, INLINE_BODY_BYTES, StoredMessage};

/// The database of a durable broker.
pub(crate) struct Journal {
    pub(crate) database: Database,
    /// Wakes the broker when a commit is answered.
    pub(crate) waker: Waker,
    pub(crate) claim: Claim,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("database", &self.database)
            .field("claim", &self.claim)
            .finish_non_exhaustive()
    }
}

/// One key, and what is stored under it from now on; `None` for nothing.
pub(crate) type Write = (Bytes, Option<Bytes>);

/// What is to be stored of an accepted message, and its bytes.
pub(crate) fn acceptance(queue: &Address, message: &Message, accepted: Timestamp) -> (Vec<Write>, usize) {
    let stored = StoredMessage::new(&message.content, message.due, accepted);
    let key = |kind| Bytes::from(keys::message(kind, queue, message.sequence));
    let mut writes = Vec::with_capacity(2);
    if stored.body_is_apart() {
        writes.push((key(Kind::Body), Some(message.content.body().clone())));
    }
    writes.push((key(Kind::Message), Some(Bytes::from(stored::encode(&stored)))));
    let bytes = writes
        .iter()
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len));
    let bytes = bytes.sum();
    (writes, bytes)
}

/// What is to be removed of a message that is done with.
pub(crate) fn removal(queue: &Address, message: &Message) -> Vec<Write> {
    let key = |kind| (Bytes::from(keys::message(kind, queue, message.sequence)), None);
    let mut writes = vec![key(Kind::Message)];
    if message.content.body().len() > INLINE_BODY_BYTES {
        writes.push(key(Kind::Body));
    }
    if message.noted {
        writes.push(key(Kind::Progress));
    }
    writes
}

/// What is to be stored of a message's progress.
pub(crate) fn progress(queue: &Address, note: &Note) -> Write {
    let key = keys::message(Kind::Progress, queue, note.sequence);
    (key.into(), Some(stored::encode(&note.progress).into()))
}

/// A batch of these writes.
pub(crate) fn batch(writes: impl IntoIterator<Item = Write>) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in writes {
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
    }
    batch
}

/// Takes the first of these writes, about as many as `most`, without splitting the removal of one message: a body or a
/// progress whose message is gone would never be removed.
pub(crate) fn first_of(writes: &mut VecDeque<Write>, most: usize) -> Vec<Write> {
    let count = whole(writes, most);
    writes.drain(..count).collect()
}

/// How many writes that are.
fn whole(writes: &VecDeque<Write>, most: usize) -> usize {
    let rest = writes.iter().skip(most);
    let of_the_last = rest.take_while(|(key, value)| value.is_none() && keys::is_part(key));
    most.min(writes.len()) + of_the_last.count()
}

/// Changes that nobody waits for, in order. The engine writes them within about 50 ms; what it has no room for waits here.
#[derive(Debug, Default)]
pub(crate) struct Lazy {
    left: VecDeque<Write>,
    /// How many more calls pass before the engine is asked for room again.
    pause: u32,
}

impl Lazy {
    /// The most writes handed to the engine as one.
    const BATCH: usize = 512;
    const PAUSE: u32 = 64;

    /// Adds changes, and hands over what the engine has room for. Adding none asks it for room at once.
    pub(crate) fn add(
        &mut self,
        writes: impl IntoIterator<Item = Write>,
        database: &Database,
    ) -> Result<(), CommitError> {
        let before = self.left.len();
        self.left.extend(writes);
        if self.pause > 0 && self.left.len() > before {
            self.pause -= 1;
            return Ok(());
        }
        self.flush(database)
    }

    /// Hands over what the engine has room for.
    pub(crate) fn flush(&mut self, database: &Database) -> Result<(), CommitError> {
        while !self.left.is_empty() {
            let some = whole(&self.left, Self::BATCH);
            match database.submit(batch(self.left.iter().take(some).cloned())) {
                Ok(()) => drop(self.left.drain(..some)),
                Err(error) if error.is_retryable() => {
                    self.pause = Self::PAUSE;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What the engine's error, or its silence, means for whoever wanted `what`.
pub(crate) fn error(what: &str, error: Option<CommitError>) -> TransportError {
    let (kind, why) = match error.as_ref().map(CommitError::kind) {
        Some(CommitErrorKind::TooLarge) => (
            TransportErrorKind::Invalid,
            "it is too large for the broker's database; send a reference instead, or raise its `max_value_bytes`",
        ),
        Some(CommitErrorKind::Busy) => (
            TransportErrorKind::Rejected,
            "the broker's database has more to write than it may; try again",
        ),
        Some(CommitErrorKind::Closed) => (
            TransportErrorKind::Closed,
            "the broker's database was closed; open it anew",
        ),
        _ => (
            TransportErrorKind::Unknown,
            "the broker's database has stopped; see its own error, mend that and start again",
        ),
    };
    let message = TransportError::new(kind, format!("{what}: {why}"));
    match error {
        Some(error) => message.with_source(error),
        None => message,
    }
}
