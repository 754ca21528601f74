//! What an endpoint has stored: instances of sagas, timeouts, messages that are not sent yet.
//!
//! It looks at a store that no endpoint is using, or at that of a running one over its socket, and changes of it only what an endpoint
//! bears: a timeout may be cancelled or moved, since its row is the truth and the broker's message only the alarm.

use std::fmt;
use std::sync::Arc;

use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::headers;
use longhaul_core::ids::derived_message_id;
use longhaul_core::store::{
    LoadRequest, PendingChange, PendingKind, PendingRow, Record, RecordKey, Store, StoreErrorKind, UnitOfWork,
};
use longhaul_core::transport::Destination;
use longhaul_sagas::operate::{self, OperateError, OperateErrorKind};
use longhaul_sagas::{Instance, Status};
use serde::Serialize;

use crate::errors::{OpsError, OpsErrorKind};

/// How many rows are in memory at a time.
pub(crate) const PAGE: usize = 256;
/// How often a timeout is changed anew when its endpoint came between.
const TRIES: u32 = 10;

/// The stored state of one endpoint.
pub struct StoredState {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// One instance of a saga in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SagaRow {
    /// Which instance.
    pub id: String,
    /// Where it stands: active, compensating, compensated, completed or stuck; `unreadable` where its record can't be read.
    pub status: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// How many timeouts it waits for.
    pub timeouts: usize,
    /// Why it compensates, or why its record can't be read.
    pub reason: Option<String>,
}

/// A timeout that is to fire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimeoutRow {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// The instance that asked for it, as `collection/id`.
    pub owner: Option<String>,
    /// When it is due.
    pub due: Option<Timestamp>,
    /// Why it is set aside, if it is.
    pub parked: Option<String>,
    /// After a change, why the record of the saga that asked for it was not changed with it; `None` where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A message that is not sent yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutboxRow {
    /// Its id.
    pub id: String,
    /// The wire name of its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Where it goes.
    pub to: String,
    /// Not before this time.
    pub due: Option<Timestamp>,
    /// Why it is set aside, if it is.
    pub parked: Option<String>,
}

impl StoredState {
    /// The state in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Instances of one saga by id, those after `after`, at most `limit`; only of one status where that is asked for.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn sagas(
        &self,
        saga: &str,
        status: Option<Status>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SagaRow>, OpsError> {
        let collection = Instance::collection(saga);
        let (mut rows, mut after) = (Vec::new(), after.map(str::to_owned));
        loop {
            let page = self
                .store
                .admin()
                .records(&collection, after.as_deref(), PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(rows);
            };
            after = Some(last.key.id.to_string());
            for record in &page {
                let row = match Instance::read(record) {
                    Ok(instance) if status.is_some_and(|wanted| wanted != instance.status) => continue,
                    Ok(instance) => SagaRow::of(&record.key.id, &instance),
                    Err(error) if status.is_none() => SagaRow::unreadable(&record.key.id, &error),
                    Err(_) => continue,
                };
                rows.push(row);
                if rows.len() == limit {
                    return Ok(rows);
                }
            }
        }
    }

    /// One instance of a saga.
    ///
    /// # Errors
    /// There is none of that id, or its record can't be read.
    pub async fn saga(&self, saga: &str, id: &str) -> Result<Instance, OpsError> {
        let key = RecordKey::new(Instance::collection(saga), id);
        let Some(record) = self.record(key).await? else {
            let text = format!(
                "find the instance {id:?} of the saga {saga}: there is none; see `longhaul sagas list`"
            );
            return Err(OpsError::new(OpsErrorKind::NoSuchMessage, text));
        };
        Instance::read(&record).map_err(|error| OpsError::new(OpsErrorKind::Store, error.to_string()))
    }

    /// Timeouts that are to fire, the next one first, at most `limit`.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn timeouts(&self, limit: usize) -> Result<Vec<TimeoutRow>, OpsError> {
        let rows = self.pending(PendingKind::Timeout, limit).await?;
        Ok(rows.iter().map(TimeoutRow::of).collect())
    }

    /// Messages that are not sent yet, at most `limit`; the ones set aside come last.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, OpsError> {
        let rows = self.pending(PendingKind::Message, limit).await?;
        Ok(rows.iter().map(OutboxRow::of).collect())
    }

    /// Takes a timeout away: it never fires. Its alarm at the broker is stale by that, and the instance of a saga that asked for it
    /// no longer waits for it.
    ///
    /// # Errors
    /// There is no such timeout, a compensation would never go on without it, or the store can't be written.
    pub async fn cancel_timeout(&self, id: &str) -> Result<TimeoutRow, OpsError> {
        let (row, note) = self
            .change_timeout(
                id,
                |row| PendingChange::Cancel(row.id.clone()),
                |record, row, now| operate::cancel_timeout(record, &row.id, now),
            )
            .await?;
        Ok(TimeoutRow {
            note,
            ..TimeoutRow::of(&row)
        })
    }

    /// Gives a timeout another due time. The alarm of before is stale by that; the endpoint sends another one when it runs.
    ///
    /// # Errors
    /// There is no such timeout, or the store can't be written.
    pub async fn move_timeout(&self, id: &str, due: Timestamp) -> Result<TimeoutRow, OpsError> {
        let (row, note) = self
            .change_timeout(
                id,
                |row| PendingChange::Move {
                    id: row.id.clone(),
                    due,
                    attention: self.clock.now(),
                },
                |record, row, now| operate::move_timeout(record, &row.id, due, now),
            )
            .await?;
        Ok(TimeoutRow {
            due: Some(due),
            note,
            ..TimeoutRow::of(&row)
        })
    }

    /// Changes the row of a timeout, and with it the instance of a saga that asked for it; where the instance knows nothing of it,
    /// or its record can't be read, the row alone.
    async fn change_timeout(
        &self,
        id: &str,
        of_row: impl Fn(&PendingRow) -> PendingChange,
        of_saga: impl Fn(&Record, &PendingRow, Timestamp) -> Result<UnitOfWork, OperateError>,
    ) -> Result<(PendingRow, Option<String>), OpsError> {
        let mut tries = 0;
        loop {
            let mut note = None;
            let row = self.timeout(id).await?;
            let mut work = UnitOfWork {
                pending: vec![of_row(&row)],
                ..UnitOfWork::default()
            };
            let owner = match row.owner.clone() {
                Some(owner) => self.record(owner).await?,
                None => None,
            };
            if let Some(record) = owner {
                match of_saga(&record, &row, self.clock.now()) {
                    Ok(both) => work = both,
                    Err(error) if error.kind() == OperateErrorKind::Needed => {
                        return Err(OpsError::new(OpsErrorKind::Invalid, error.to_string()));
                    }
                    Err(error) => note = Some(error.to_string()),
                }
            }
            tries += 1;
            match self.store.commit(work).await {
                Ok(()) => return Ok((row, note)),
                // Its endpoint has changed it meanwhile.
                Err(error) if error.kind() == StoreErrorKind::Conflict && tries < TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn record(&self, key: RecordKey) -> Result<Option<Record>, OpsError> {
        let request = LoadRequest {
            inbox: derived_message_id(&["longhaul/operator"], 0),
            records: vec![key],
            pending: None,
            // A finished one is shown for as long as it is there.
            now: Timestamp::UNIX_EPOCH,
        };
        let loaded = self.store.load(&request).await?;
        Ok(loaded.records.into_iter().next().flatten())
    }

    async fn timeout(&self, id: &str) -> Result<PendingRow, OpsError> {
        let found = self
            .find(|row| row.kind == PendingKind::Timeout && row.id.as_str() == id, 1)
            .await?;
        found.into_iter().next().ok_or_else(|| {
            let text = format!("find the timeout {id:?}: there is none; see `longhaul timeouts list`");
            OpsError::new(OpsErrorKind::NoSuchMessage, text)
        })
    }

    async fn pending(&self, kind: PendingKind, limit: usize) -> Result<Vec<PendingRow>, OpsError> {
        self.find(|row| row.kind == kind, limit).await
    }

    async fn find(
        &self,
        wanted: impl Fn(&PendingRow) -> bool,
        limit: usize,
    ) -> Result<Vec<PendingRow>, OpsError> {
        let (mut rows, mut after) = (Vec::new(), None);
        while rows.len() < limit {
            let page = self.store.admin().pending(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            rows.extend(page.into_iter().filter(&wanted));
        }
        rows.truncate(limit);
        Ok(rows)
    }
}

impl SagaRow {
    fn of(id: &str, instance: &Instance) -> Self {
        Self {
            id: id.to_owned(),
            status: instance.status.to_string(),
            started: Some(instance.started),
            finished: instance.finished,
            timeouts: instance.timeouts.len(),
            reason: instance.reason.clone(),
        }
    }

    fn unreadable(id: &str, error: &impl fmt::Display) -> Self {
        Self {
            id: id.to_owned(),
            status: "unreadable".to_owned(),
            started: None,
            finished: None,
            timeouts: 0,
            reason: Some(format!("failed to {error}")),
        }
    }
}

impl TimeoutRow {
    fn of(row: &PendingRow) -> Self {
        let owner = row.owner.as_ref();
        Self {
            id: row.id.to_string(),
            name: row.name.clone(),
            owner: owner.map(|owner| format!("{}/{}", owner.collection, owner.id)),
            due: row.due,
            parked: row.parked.clone(),
            note: None,
        }
    }
}

impl OutboxRow {
    fn of(row: &PendingRow) -> Self {
        let types = row.envelope.headers.get(headers::TYPE).unwrap_or_default();
        Self {
            id: row.id.to_string(),
            type_name: types.split(',').next().unwrap_or_default().trim().to_owned(),
            to: name_of(&row.to),
            due: row.due,
            parked: row.parked.clone(),
        }
    }
}

/// A destination for people.
pub(crate) fn name_of(to: &Destination) -> String {
    match to {
        Destination::Queue(queue) => queue.to_string(),
        Destination::Subscribers(event) => format!("subscribers of {event}"),
    }
}

impl fmt::Debug for StoredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredState").finish_non_exhaustive()
    }
}
