//! What an operator sees of messages that wait in order, and how those are let pass.

use super::{COLLECTION, Sequence, next};
use crate::endpoint::compose;
use crate::endpoint::settings::CONFLICTS;
use crate::endpoint::shared::Shared;
use crate::endpoint::{EndpointError, Session};
use crate::ids::{MessageId, derived_message_id};
use crate::store::{
    InboxState, LoadRequest, PendingChange, RecordKey, Store, StoreError, StoreErrorKind, UnitOfWork,
};

/// Messages that wait in order behind one that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Names it in [`Session::waiting`].
    pub id: String,
    /// What they are about: a record, or the ordering key that a pipeline step has set.
    pub name: String,
    /// The one that is in the error queue, or about to be handled again.
    pub first: MessageId,
    /// How many wait behind it.
    pub behind: usize,
}

impl Session {
    /// Messages that wait in order behind one that failed: those after `after`, at most `limit`.
    ///
    /// # Errors
    /// The store failed, or there is none.
    pub async fn waiting(&self, after: Option<&str>, limit: usize) -> Result<Vec<Waiting>, EndpointError> {
        let store = self.store("list what waits in order")?;
        let records = store.admin().records(COLLECTION, after, limit).await?;
        let waiting = records.into_iter().filter_map(|record| {
            let id = record.key.id.to_string();
            let sequence = Sequence::stored(record).ok()?;
            Some(Waiting {
                id,
                name: sequence.name().to_owned(),
                first: sequence.first()?.clone(),
                behind: sequence.len().saturating_sub(1),
            })
        });
        Ok(waiting.collect())
    }

    /// The message does not come back, because it was discarded from the error queue: those that wait in order behind it are
    /// handled now, or once those in front of it are done with. Returns how many sequences it leaves by that; a message that is in
    /// none, or that waits itself or is on its way again, changes nothing.
    ///
    /// # Errors
    /// The store failed, or there is none; the outcome may be unknown, and asking again does no harm.
    pub async fn let_pass(&self, message: &MessageId) -> Result<usize, EndpointError> {
        let store = self.store("let messages pass that wait in order")?;
        let_pass(&self.shared, store, message).await
    }

    fn store(&self, what: &str) -> Result<&dyn Store, EndpointError> {
        self.shared.store.as_deref().ok_or_else(|| {
            EndpointError::store(format!(
                "{what}: this endpoint has no store; give it one with `.persistence(…)`"
            ))
        })
    }
}

/// Lets those pass that wait behind a message of the error queue, and says in how many sequences. Each sequence changes in a
/// commit of its own, which counts only while the message is still there: to do it again does no harm.
pub(crate) async fn let_pass(
    shared: &Shared,
    store: &dyn Store,
    message: &MessageId,
) -> Result<usize, EndpointError> {
    const PAGE: usize = 256;
    let (mut passed, mut after) = (0, None);
    loop {
        let page = store.admin().records(COLLECTION, after.as_deref(), PAGE).await?;
        let Some(last) = page.last().map(|record| record.key.id.to_string()) else {
            return Ok(passed);
        };
        for record in page {
            match Sequence::stored(record) {
                Ok(sequence) => passed += usize::from(pass(shared, store, sequence, message).await?),
                // It keeps none of the others from going on.
                Err(error) => {
                    tracing::error!(%error, "what waits in order can't be read, and nothing of it passes")
                }
            }
        }
        after = Some(last);
    }
}

async fn pass(
    shared: &Shared,
    store: &dyn Store,
    mut sequence: Sequence,
    message: &MessageId,
) -> Result<bool, EndpointError> {
    for _ in 0..CONFLICTS {
        if is_on_its_way(shared, store, &sequence, message).await? {
            return Ok(false);
        }
        let Some(was_first) = sequence.let_go(message) else {
            return Ok(false);
        };
        let key = sequence.key().clone();
        let follows = match was_first {
            true => next(shared, store, &mut sequence).await?,
            false => None,
        };
        let mut rows = Vec::from_iter(follows);
        let entries = compose::entries(shared, shared.clock.now(), &mut rows);
        let rows = rows.into_iter().map(|row| PendingChange::Add(Box::new(row)));
        let work = UnitOfWork {
            records: sequence.change().into_iter().collect(),
            pending: rows.collect(),
            ..UnitOfWork::default()
        };
        match shared.commit(store, work).await {
            Ok(()) => {
                shared.queue.push(entries);
                return Ok(true);
            }
            Err(error) if error.kind() == StoreErrorKind::Conflict => {}
            Err(error) => return Err(error.into()),
        }
        // Another one joined at the same time.
        match load_sequence(shared, store, &key).await? {
            Some(again) => sequence = again,
            None => return Ok(false),
        }
    }
    Err(EndpointError::store(
        "let messages pass that wait in order: others joined at the same time, again and again; try later",
    ))
}

/// Whether the message is the first, and about to be handled: its row is still there.
async fn is_on_its_way(
    shared: &Shared,
    store: &dyn Store,
    sequence: &Sequence,
    message: &MessageId,
) -> Result<bool, StoreError> {
    let Some((_, row)) = sequence.first_waiting().filter(|(first, _)| *first == message) else {
        return Ok(false);
    };
    let request = LoadRequest {
        inbox: message.clone(),
        records: Vec::new(),
        pending: Some(row.clone()),
        now: shared.clock.now(),
    };
    Ok(shared.load(store, &request).await?.pending.is_some())
}

/// Whether it is known of a message that it will not be handled any more as it is: it is in the error queue, or done with.
pub(crate) async fn is_over(
    shared: &Shared,
    store: &dyn Store,
    message: &MessageId,
) -> Result<bool, EndpointError> {
    let request = LoadRequest {
        inbox: message.clone(),
        records: Vec::new(),
        pending: None,
        now: shared.clock.now(),
    };
    let state = shared.load(store, &request).await?.inbox;
    Ok(matches!(
        state,
        Some(InboxState::Failed { .. } | InboxState::Done)
    ))
}

async fn load_sequence(
    shared: &Shared,
    store: &dyn Store,
    key: &RecordKey,
) -> Result<Option<Sequence>, StoreError> {
    let request = LoadRequest {
        inbox: derived_message_id(&[COLLECTION], 0),
        records: vec![key.clone()],
        pending: None,
        now: shared.clock.now(),
    };
    let loaded = shared.load(store, &request).await?;
    let record = loaded.records.into_iter().next().flatten();
    record.map(Sequence::stored).transpose()
}
