//! What an operator sees of messages that wait in order, and how those are let pass.

use super::{COLLECTION, Sequence, next};
use crate::clock::within;
use crate::endpoint::compose;
use crate::endpoint::settings::CONFLICTS;
use crate::endpoint::shared::Shared;
use crate::endpoint::{EndpointError, Session};
use crate::ids::{MessageId, derived_message_id};
use crate::store::{
    InboxState, LoadRequest, PendingChange, Record, RecordKey, Store, StoreError, StoreErrorKind, UnitOfWork,
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
        let records = page(&self.shared, store, after, limit).await?;
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
    /// none, or that waits itself or is being handled again, changes nothing.
    ///
    /// # Errors
    /// The store failed, or there is none; the outcome may be unknown, and asking again does no harm.
    pub async fn let_pass(&self, message: &MessageId) -> Result<usize, EndpointError> {
        let store = self.store("let messages pass that wait in order")?;
        Ok(let_pass(&self.shared, store, message).await?.sequences)
    }

    fn store(&self, what: &str) -> Result<&dyn Store, EndpointError> {
        self.shared.store.as_deref().ok_or_else(|| {
            EndpointError::store(format!(
                "{what}: this endpoint has no store; give it one with `.persistence(…)`"
            ))
        })
    }
}

/// What came of letting pass what waits behind a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    /// How many sequences it has left.
    pub(crate) sequences: usize,
    /// Whether it was known before that it had failed, or was done.
    pub(crate) is_known: bool,
}

/// Lets those pass that wait behind a message of the error queue. Each sequence changes in a commit of its own, which counts only
/// while the message is still there: to do it again does no harm. A message that waits itself, or is being handled again, keeps
/// its places.
pub(crate) async fn let_pass(
    shared: &Shared,
    store: &dyn Store,
    message: &MessageId,
) -> Result<Passed, EndpointError> {
    const PAGE: usize = 256;
    // Before the sequences: a message comes into them in the commit that notes that it failed.
    let state = state_of(shared, store, message).await?;
    let mut passed = Passed {
        sequences: 0,
        is_known: matches!(state, Some(InboxState::Failed { .. } | InboxState::Done)),
    };
    if matches!(
        state,
        Some(InboxState::Scheduled { .. } | InboxState::Started { .. })
    ) {
        return Ok(passed);
    }
    let mut after = None;
    loop {
        let page = page(shared, store, after.as_deref(), PAGE).await?;
        let Some(last) = page.last().map(|record| record.key.id.to_string()) else {
            return Ok(passed);
        };
        for record in page {
            match Sequence::stored(record) {
                Ok(sequence) => {
                    passed.sequences += usize::from(pass(shared, store, sequence, message).await?);
                }
                // It keeps none of the others from going on.
                Err(error) => {
                    tracing::error!(%error, "what waits in order can't be read, and nothing of it passes")
                }
            }
        }
        after = Some(last);
    }
}

/// Records of what waits in order, within the limit of a call.
async fn page(
    shared: &Shared,
    store: &dyn Store,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Record>, EndpointError> {
    let records = store.admin().records(COLLECTION, after, limit);
    let records = within(&*shared.clock, shared.settings.call_limit, records).await;
    let late =
        || EndpointError::store("list what waits in order: the store did not answer in time; try later");
    Ok(records.ok_or_else(late)??)
}

async fn pass(
    shared: &Shared,
    store: &dyn Store,
    mut sequence: Sequence,
    message: &MessageId,
) -> Result<bool, EndpointError> {
    for _ in 0..CONFLICTS {
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

/// What the inbox says of a message.
async fn state_of(
    shared: &Shared,
    store: &dyn Store,
    message: &MessageId,
) -> Result<Option<InboxState>, StoreError> {
    let request = LoadRequest {
        inbox: message.clone(),
        records: Vec::new(),
        pending: None,
        now: shared.clock.now(),
    };
    Ok(shared.load(store, &request).await?.inbox)
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
