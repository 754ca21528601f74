//! One operator's connection: what is asked is done, one thing after the other, within limits.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::admin::{Pass, Place};
use longhaul_core::clock::{Clock, SystemClock, Timestamp};
use longhaul_core::ids::{MessageId, derived_message_id};
use longhaul_core::store::{
    LoadRequest, PendingChange, PendingKind, RecordChange, RecordKey, Store, StoreError, StoreErrorKind,
    UnitOfWork,
};
use longhaul_core::transport::{Accepted, Dispatch, Transport};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::fault::Fault;
use crate::frame;
use crate::page::Page;
use crate::server::Reached;
use crate::wire::{Answer, Request, VERSION, WireFound, WireRecord, WireRow, millis};

/// How long a connection may take to say what it is.
const FIRST: Duration = Duration::from_secs(5);
/// How long a connection may be silent. A look through a queue keeps others from it for as long.
const SILENT: Duration = Duration::from_secs(300);
/// How long anything may take.
const WORK: Duration = Duration::from_secs(60);
/// The most messages, records or rows in one answer.
const ROWS: usize = 1_000;
/// How many are read at a time at most. It begins with one and doubles, so that of what is large not much is read in vain.
const STEP: usize = 16;
/// The most stores that one connection has open.
const STORES: usize = 16;

/// One operator.
pub(crate) struct Connection {
    stream: UnixStream,
    reached: Arc<Reached>,
    look: Option<Box<dyn Pass>>,
    /// What the look has shown and an answer had no room for.
    kept: VecDeque<WireFound>,
    stores: BTreeMap<Address, Arc<dyn Store>>,
}

/// Says that there is no room.
pub(crate) async fn refuse(mut stream: UnixStream, most: usize) {
    let why = format!("reach the endpoint: {most} operators are connected already; wait until one is done");
    let said = frame::write(&mut stream, &Answer::Failed(Fault::socket(why))).await;
    drop(said);
}

impl Connection {
    pub(crate) fn new(stream: UnixStream, reached: Arc<Reached>) -> Self {
        Self {
            stream,
            reached,
            look: None,
            kept: VecDeque::new(),
            stores: BTreeMap::new(),
        }
    }

    /// Answers until the operator goes, or says something that is not understood.
    pub(crate) async fn serve(mut self) -> io::Result<()> {
        let (mut limit, mut is_greeted) = (FIRST, false);
        loop {
            let request = match frame::read(&mut self.stream, limit).await {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let fault = Fault::socket(format!("understand the request: {error}"));
                    frame::write(&mut self.stream, &Answer::Failed(fault)).await?;
                    return Err(error);
                }
            };
            if !is_greeted && !matches!(request, Request::Hello { version: VERSION }) {
                let fault = Fault::socket(format!(
                    "speak with the endpoint: it speaks version {VERSION}; use the `longhaul` of its version"
                ));
                return frame::write(&mut self.stream, &Answer::Failed(fault)).await;
            }
            (limit, is_greeted) = (SILENT, true);
            // What was shown goes back in its order, which takes its time where it is much.
            let most = if matches!(request, Request::Close) {
                SILENT
            } else {
                WORK
            };
            let answer = timeout(most, self.answer(request)).await;
            let answer = answer
                .unwrap_or_else(|_| Err(Fault::socket("answer: it took too long; the outcome is unknown")));
            let written = frame::write(&mut self.stream, &answer.unwrap_or_else(Answer::Failed)).await;
            match written {
                // Nothing of it was written.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let fault = Fault::socket(format!("answer: {error}; stop the endpoint to look at it"));
                    frame::write(&mut self.stream, &Answer::Failed(fault)).await?;
                }
                written => written?,
            }
        }
    }

    async fn answer(&mut self, request: Request) -> Result<Answer, Fault> {
        let Reached { transport, admin, .. } = &*self.reached;
        match request {
            Request::Hello { .. } => {
                let can = transport.capabilities();
                Ok(Answer::Hello {
                    version: VERSION,
                    process: std::process::id(),
                    max_delay_ms: millis(can.max_delay),
                    max_body: can.max_body,
                })
            }
            Request::Queues { limit } => {
                let queues = admin.queues(limit.min(ROWS)).await?;
                Ok(Answer::Queues { queues })
            }
            Request::Depth { queue } => Ok(Answer::depth(admin.depth(&queue).await?)),
            Request::LookThrough { queue } => {
                (self.look, self.kept) = (None, VecDeque::new());
                let look = admin.look_through(&queue).await?;
                let expected = look.expected();
                self.look = Some(look);
                Ok(Answer::Look { expected })
            }
            Request::Next { limit } => self.next(limit).await,
            Request::Remove { places } => {
                let places: Vec<_> = places.into_iter().map(Place).collect();
                self.look()?.remove(&places).await?;
                Ok(Answer::Done)
            }
            Request::Close => {
                self.kept.clear();
                if let Some(look) = self.look.take() {
                    look.close().await?;
                }
                Ok(Answer::Done)
            }
            Request::Dispatch { batch } => {
                let batch = batch.into_iter().map(|one| one.into_dispatch());
                let batch: Vec<Dispatch> = batch.collect::<Result<_, _>>()?;
                let results = transport.dispatch(&batch).await.into_iter();
                let results = results.map(|result| Ok(result? == Accepted::Queued));
                Ok(Answer::Sent {
                    results: results.collect(),
                })
            }
            stored => self.answer_of_store(stored).await,
        }
    }

    async fn answer_of_store(&mut self, request: Request) -> Result<Answer, Fault> {
        match request {
            Request::Has { endpoint } => {
                let has = self.reached.stores.has(&endpoint).await?;
                Ok(Answer::Has { has })
            }
            Request::Record {
                endpoint,
                collection,
                id,
            } => {
                let store = self.store(&endpoint).await?;
                record(&*store, RecordKey::new(collection, id)).await
            }
            Request::Records {
                endpoint,
                collection,
                after,
                limit,
            } => {
                let store = self.store(&endpoint).await?;
                records(&*store, &collection, after, limit).await
            }
            Request::Pending {
                endpoint,
                after,
                limit,
            } => {
                let store = self.store(&endpoint).await?;
                rows(&*store, after.map(|place| place.into_row()), limit).await
            }
            Request::Cancel { endpoint, id, owner } => {
                let store = self.store(&endpoint).await?;
                commit(&*store, PendingChange::Cancel(id.clone()), &id, owner).await?;
                Ok(Answer::Done)
            }
            Request::Move {
                endpoint,
                id,
                due,
                owner,
            } => {
                let store = self.store(&endpoint).await?;
                let attention = SystemClock.now();
                let change = PendingChange::Move {
                    id: id.clone(),
                    due,
                    attention,
                };
                commit(&*store, change, &id, owner).await?;
                // It is moved, whatever becomes of the alarm: overdue, it fires from the store.
                if let Err(fault) = alarm(&*self.reached.transport, &*store, &id, due).await {
                    tracing::warn!(timeout = %id, why = fault.text(), "the alarm of a timeout that was moved could not be sent");
                }
                Ok(Answer::Done)
            }
            _ => Err(Fault::socket("answer: that is not about a store")),
        }
    }

    fn look(&mut self) -> Result<&mut Box<dyn Pass>, Fault> {
        let none = || Fault::socket("go on looking through a queue: that was not begun, or is over");
        self.look.as_mut().ok_or_else(none)
    }

    async fn next(&mut self, limit: usize) -> Result<Answer, Fault> {
        let (mut page, mut step) = (Page::new(limit.clamp(1, ROWS)), 1);
        self.look()?;
        while page.room() > 0 {
            let Some(found) = self.kept.pop_front() else {
                let room = page.room();
                let more = self.look()?.next(room.min(step)).await?;
                if more.is_empty() {
                    break;
                }
                self.kept.extend(more.iter().map(WireFound::of));
                step = STEP.min(step * 2);
                continue;
            };
            if let Err(found) = page.add(found) {
                self.kept.push_front(found);
                break;
            }
        }
        let messages = page.into_items();
        Ok(Answer::Found { messages })
    }

    /// The store of an endpoint that there is: to open it would make one.
    async fn store(&mut self, endpoint: &Address) -> Result<Arc<dyn Store>, Fault> {
        if let Some(store) = self.stores.get(endpoint) {
            return Ok(Arc::clone(store));
        }
        match self.reached.stores.has(endpoint).await? {
            Some(true) => {}
            Some(false) => {
                let text = format!("find the endpoint {endpoint}: it has stored nothing in this directory");
                return Err(StoreError::new(StoreErrorKind::Refused, text).into());
            }
            None => drop(self.reached.admin.depth(endpoint).await?),
        }
        let store = self.reached.stores.open(endpoint).await?;
        if self.stores.len() >= STORES {
            self.stores.clear();
        }
        self.stores.insert(endpoint.clone(), Arc::clone(&store));
        Ok(store)
    }
}

async fn load(
    store: &dyn Store,
    records: Vec<RecordKey>,
    pending: Option<MessageId>,
) -> Result<longhaul_core::store::Loaded, Fault> {
    let request = LoadRequest {
        inbox: derived_message_id(&["longhaul/operator"], 0),
        records,
        pending,
        // What has expired is shown for as long as it is there.
        now: Timestamp::UNIX_EPOCH,
    };
    Ok(store.load(&request).await?)
}

async fn record(store: &dyn Store, key: RecordKey) -> Result<Answer, Fault> {
    let loaded = load(store, vec![key], None).await?;
    let records = loaded.records.iter().flatten().map(WireRecord::of);
    Ok(Answer::Records {
        records: records.collect(),
    })
}

async fn records(
    store: &dyn Store,
    collection: &str,
    mut after: Option<String>,
    limit: usize,
) -> Result<Answer, Fault> {
    let (mut page, mut step) = (Page::new(limit.clamp(1, ROWS)), 1);
    loop {
        let admin = store.admin();
        let more = admin.records(collection, after.as_deref(), page.room().min(step));
        let more = more.await?;
        let last = more.last().map(|record| record.key.id.to_string());
        let mut all = more.iter().map(WireRecord::of);
        let is_full = all.any(|record| page.add(record).is_err());
        if is_full || last.is_none() || page.room() == 0 {
            let records = page.into_items();
            return Ok(Answer::Records { records });
        }
        (after, step) = (last, STEP.min(step * 2));
    }
}

async fn rows(
    store: &dyn Store,
    mut after: Option<longhaul_core::store::PendingRow>,
    limit: usize,
) -> Result<Answer, Fault> {
    let (mut page, mut step) = (Page::new(limit.clamp(1, ROWS)), 1);
    loop {
        let more = store.admin().pending(after.as_ref(), page.room().min(step));
        let mut more = more.await?;
        let is_full = more.iter().map(WireRow::of).any(|row| page.add(row).is_err());
        let last = more.pop();
        if is_full || last.is_none() || page.room() == 0 {
            let rows = page.into_items();
            return Ok(Answer::Rows { rows });
        }
        (after, step) = (last, STEP.min(step * 2));
    }
}

/// Only timeouts are changed by operators, and the records that they are of: a message's row is the outbox's own business.
async fn commit(
    store: &dyn Store,
    change: PendingChange,
    timeout: &MessageId,
    owner: Option<WireRecord>,
) -> Result<(), Fault> {
    let refused = |text: String| Fault::from(StoreError::new(StoreErrorKind::Refused, text));
    let row = load(store, Vec::new(), Some(timeout.clone())).await?.pending;
    let Some(row) = row.filter(|row| row.kind == PendingKind::Timeout) else {
        return Err(refused(format!(
            "find the timeout {timeout}: there is none; see `longhaul timeouts list`"
        )));
    };
    let mut work = UnitOfWork {
        pending: vec![change],
        ..UnitOfWork::default()
    };
    if let Some(owner) = owner {
        let record = owner.into_record()?;
        if row.owner.as_ref() != Some(&record.key) {
            return Err(refused(format!(
                "change what asked for the timeout {timeout}: that is another record"
            )));
        }
        if record.expires.is_some() {
            return Err(refused(format!(
                "change what asked for the timeout {timeout}: what waits does not expire"
            )));
        }
        work.records.push(RecordChange::Put {
            key: record.key,
            expected: Some(record.version),
            body: record.body,
            expires: None,
        });
    }
    Ok(store.commit(work).await?)
}

/// The endpoint looks at its rows when it expects something of them, and knows nothing of this change: so the broker gets the
/// alarm from here. What the endpoint sends later is the same message.
async fn alarm(
    transport: &dyn Transport,
    store: &dyn Store,
    id: &MessageId,
    due: Timestamp,
) -> Result<(), Fault> {
    if due.since(SystemClock.now()) > transport.capabilities().max_delay {
        return Ok(());
    }
    let Some(row) = load(store, Vec::new(), Some(id.clone())).await?.pending else {
        return Ok(());
    };
    let alarm = Dispatch {
        envelope: row.outgoing(),
        to: row.to.clone(),
        due: row.due,
    };
    for sent in transport.dispatch(std::slice::from_ref(&alarm)).await {
        sent?;
    }
    Ok(())
}
