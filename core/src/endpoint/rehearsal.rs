//! What would become of messages: handled against a copy of the state, with nothing sent and nothing written.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::endpoint::arrival::{self, Ready};
use crate::endpoint::attempt::outbound;
use crate::endpoint::compose::{self, Cause};
use crate::endpoint::dispatcher::describe;
use crate::endpoint::failing::{guarded, panicked};
use crate::endpoint::gate::{Gate, gate};
use crate::endpoint::shared::Shared;
use crate::endpoint::{EndpointError, EndpointErrorKind};
use crate::envelope::Incoming;
use crate::handler::{ErrorClass, HandlerError, HandlerResult, Received};
use crate::headers;
use crate::outbound::Outbound;
use crate::reason::Reason;
use crate::stateful::{Taken, Work};
use crate::store::{LoadRequest, Loaded, PendingKind, PendingRow, Record, RecordChange, RecordKey};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;

/// The most records that are kept changed; see [`Rehearsal::of`].
const MOST_RECORDS: usize = 100_000;

/// Handles messages as the endpoint would, and keeps what they change to itself: the next one finds it, and nobody else.
///
/// Made by [`EndpointBuilder::rehearsal`](crate::endpoint::EndpointBuilder::rehearsal). The store is read, at the state in which it
/// is; the broker is not touched. Participants with state are pure, so they run; handlers run only if they have a
/// [dry run](crate::handler::Handler::dry_run).
#[derive(Debug)]
pub struct Rehearsal {
    shared: Arc<Shared>,
    /// What was changed so far; `None` for what is gone.
    changed: BTreeMap<RecordKey, Option<Record>>,
}

/// What would become of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rehearsed {
    /// The message's id, as far as it can be read.
    pub id: String,
    /// The wire name of its type, as far as it can be read.
    pub type_name: String,
    /// What would become of it.
    pub verdict: Verdict,
}

/// What would become of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It would be handled.
    Succeeds(Consequences),
    /// It would change nothing: it was handled already, or what it is for is over. Why.
    Ignored(String),
    /// Nothing takes it yet, and it would be put off.
    Absent,
    /// It would fail.
    Fails {
        /// The class of the error.
        class: ErrorClass,
        /// The reason, as in the error queue.
        reason: Reason,
        /// What the error says.
        text: String,
    },
    /// Nobody knows.
    Unknown {
        /// Why: it has a handler without a dry run, or its body is kept elsewhere.
        why: String,
        /// What is known of what it would do: that of what has state.
        consequences: Consequences,
    },
}

/// What handling a message would write and send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Consequences {
    /// Records that would change.
    pub changes: Vec<RehearsedChange>,
    /// What would be sent.
    pub sends: Vec<RehearsedSend>,
    /// Timeouts that would be asked for: what they are called, and when they are due.
    pub timeouts: Vec<(String, Timestamp)>,
}

/// A record that would change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RehearsedChange {
    /// Which.
    pub key: RecordKey,
    /// What is in it; `None` where there is none.
    pub before: Option<Bytes>,
    /// What would be in it; `None` if it would be gone.
    pub after: Option<Bytes>,
}

/// A message that would be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RehearsedSend {
    /// The wire name of its type.
    pub type_name: String,
    /// Where it would go, in words.
    pub to: String,
    /// When, if later.
    pub due: Option<Timestamp>,
    /// Its body.
    pub body: Bytes,
}

impl Rehearsal {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            changed: BTreeMap::new(),
        }
    }

    /// What would become of the message if it were replayed now, after those that were rehearsed before it and would be handled.
    /// One of which nobody knows counts as not replayed. Headers that say why it is in the error queue are taken off.
    ///
    /// # Errors
    /// The store can't be read, or 100,000 records have changed: rehearse fewer messages at a time.
    pub async fn of(&mut self, incoming: &Incoming) -> Result<Rehearsed, EndpointError> {
        let shared = Arc::clone(&self.shared);
        let replayed = replayed(incoming);
        let text = |bytes: Option<&[u8]>| {
            bytes
                .map(String::from_utf8_lossy)
                .unwrap_or_default()
                .into_owned()
        };
        let header = replayed.headers.iter().find(|(name, _)| name == headers::TYPE);
        let mut rehearsed = Rehearsed {
            id: text(incoming.id.as_deref()),
            type_name: text(header.map(|(_, value)| value.as_slice())),
            verdict: Verdict::Absent,
        };
        rehearsed.verdict = match arrival::read(&shared, &replayed, false) {
            // The store of bodies belongs to the broker, which is not touched.
            Err(rejected) if rejected.error.reason() == Reason::MissingBody => Verdict::Unknown {
                why: String::from("its body is kept elsewhere"),
                consequences: Consequences::default(),
            },
            Err(rejected) => fails(&rejected.error),
            Ok(ready) => self.handle(&shared, &ready).await?,
        };
        if self.changed.len() > MOST_RECORDS {
            return Err(EndpointError::new(
                EndpointErrorKind::Refused,
                format!(
                    "rehearse more messages: over {MOST_RECORDS} records have changed; rehearse fewer at a time"
                ),
            ));
        }
        Ok(rehearsed)
    }

    async fn handle(&mut self, shared: &Shared, ready: &Ready<'_>) -> Result<Verdict, EndpointError> {
        let loaded = match self.load(shared, ready).await? {
            Ok(loaded) => loaded,
            Err(error) => return Ok(fails(&error)),
        };
        let known = match gate(shared, &ready.original(), loaded.inbox) {
            Gate::Open(known) => known,
            Gate::Duplicate => return Ok(Verdict::Ignored(String::from("it was handled already"))),
            Gate::Killer(_) => return Ok(fails(&super::gate::killed())),
        };
        if ready.is_alarm() && loaded.pending.is_none() {
            return Ok(Verdict::Ignored(String::from(
                "its timeout has fired, or was cancelled",
            )));
        }
        let received = Arc::new(Received {
            attempt: known.attempts.saturating_add(1),
            last_chance: known.put_off >= shared.settings.not_yet_rounds,
            now: shared.clock.now(),
            ..ready.received.clone()
        });
        let ran = match dry_runs(shared, ready, &received).await {
            Ok(ran) => ran,
            Err(error) => return Ok(fails(&error)),
        };
        let verdict = guarded("the handler", || self.run(shared, ready, &loaded, &received, ran));
        Ok(verdict.unwrap_or_else(|error| fails(&error)))
    }

    /// What the store has, with what was changed here over it; the inner error is the message's own.
    async fn load(
        &self,
        shared: &Shared,
        ready: &Ready<'_>,
    ) -> Result<Result<Loaded, HandlerError>, EndpointError> {
        let Some(store) = shared.store.as_deref() else {
            return Ok(Ok(Loaded {
                inbox: None,
                records: Vec::new(),
                pending: None,
            }));
        };
        let request = LoadRequest {
            inbox: ready.id().clone(),
            records: ready.keys.clone(),
            pending: ready.row(),
            now: shared.clock.now(),
        };
        let mut loaded = match shared.load(store, &request).await {
            Ok(loaded) => loaded,
            Err(error) => {
                return match super::process::reason_of(&error) {
                    Some(reason) => Ok(Err(HandlerError::permanent(error).with_reason(reason))),
                    None => Err(EndpointError::store(error.to_string())),
                };
            }
        };
        for (record, key) in loaded.records.iter_mut().zip(&ready.keys) {
            if let Some(changed) = self.changed.get(key) {
                *record = changed.clone();
            }
        }
        Ok(Ok(loaded))
    }

    /// Runs the participants with state, and notes what they change.
    fn run(
        &mut self,
        shared: &Shared,
        ready: &Ready<'_>,
        loaded: &Loaded,
        received: &Received,
        ran: DryRuns,
    ) -> HandlerResult<Verdict> {
        let DryRuns {
            mut outbounds,
            is_known,
        } = ran;
        let mut is_absent = ready.takers.handlers.is_empty() && !ready.is_alarm();
        let (mut ignored, mut changes) = (None, Vec::new());
        for (participant, places) in ready.takers.stateful.iter().zip(&ready.places) {
            let records = places
                .iter()
                .map(|place| loaded.records.get(*place).cloned().flatten());
            let records: Vec<_> = records.collect();
            let work = Work {
                records: &records,
                timeout: loaded.pending.as_ref(),
                outbound: outbound(shared, received, Arc::from(participant.name())),
            };
            let effects = participant.handle(received, work)?;
            match effects.taken {
                Taken::Handled => is_absent = false,
                Taken::Ignored(why) => {
                    is_absent = false;
                    ignored = Some(why);
                }
                Taken::Absent => {}
            }
            changes.extend(effects.records);
            outbounds.push(effects.outbound);
        }
        if is_absent {
            return Ok(Verdict::Absent);
        }
        let cause = Cause {
            incoming: Some(received),
            now: received.now,
            time_sent: Some(received.now),
        };
        let mut rows = Vec::new();
        for outbound in outbounds {
            rows.extend(compose::rows(shared, cause, outbound)?);
        }
        let changes = self.note(ready, loaded, changes, is_known);
        match ignored {
            Some(why) if changes.is_empty() && rows.is_empty() => Ok(Verdict::Ignored(why.to_owned())),
            _ if is_known => Ok(Verdict::Succeeds(consequences(changes, rows))),
            _ => Ok(Verdict::Unknown {
                why: String::from("it has a handler without a dry run"),
                consequences: consequences(changes, rows),
            }),
        }
    }

    /// Tells the changes; those of a message that may not come about are not there for the next one.
    fn note(
        &mut self,
        ready: &Ready<'_>,
        loaded: &Loaded,
        changes: Vec<RecordChange>,
        is_known: bool,
    ) -> Vec<RehearsedChange> {
        let before = |key: &RecordKey| {
            let place = ready.keys.binary_search(key).ok()?;
            loaded.records.get(place)?.as_ref()
        };
        let mut told = Vec::with_capacity(changes.len());
        for change in changes {
            let (key, after) = match change {
                RecordChange::Put {
                    key,
                    expected,
                    body,
                    expires,
                } => {
                    let record = Record {
                        key: key.clone(),
                        version: expected.unwrap_or(0) + 1,
                        body,
                        expires,
                    };
                    (key, Some(record))
                }
                RecordChange::Delete { key, .. } => (key, None),
            };
            told.push(RehearsedChange {
                before: before(&key).map(|record| record.body.clone()),
                after: after.as_ref().map(|record| record.body.clone()),
                key: key.clone(),
            });
            if is_known {
                self.changed.insert(key, after);
            }
        }
        told
    }
}

/// What came of the dry runs.
struct DryRuns {
    /// What handlers that have one would send.
    outbounds: Vec<Outbound>,
    /// Whether all have one.
    is_known: bool,
}

async fn dry_runs(shared: &Shared, ready: &Ready<'_>, received: &Arc<Received>) -> HandlerResult<DryRuns> {
    let (mut outbounds, mut is_known) = (Vec::new(), true);
    for registered in &ready.takers.handlers {
        let outbound = outbound(shared, received, Arc::clone(&registered.name));
        let run = AssertUnwindSafe(registered.handler.dry_run(Arc::clone(received), outbound)).catch_unwind();
        let limit = shared.settings.handler_limit;
        match crate::clock::within(&*shared.clock, limit, run).await {
            Some(Ok(Some(result))) => outbounds.push(result?),
            Some(Ok(None)) => is_known = false,
            Some(Err(panic)) => return Err(panicked("the dry run", panic.as_ref())),
            None => {
                let text = format!("rehearse the message within {limit:?}, the limit of a handler");
                return Err(HandlerError::transient(text));
            }
        }
    }
    Ok(DryRuns { outbounds, is_known })
}

fn consequences(changes: Vec<RehearsedChange>, rows: Vec<PendingRow>) -> Consequences {
    let mut told = Consequences {
        changes,
        ..Consequences::default()
    };
    for row in rows {
        match (row.kind, row.due) {
            (PendingKind::Timeout, Some(due)) => told.timeouts.push((row.name, due)),
            _ => told.sends.push(RehearsedSend {
                type_name: row
                    .envelope
                    .headers
                    .get(headers::TYPE)
                    .unwrap_or_default()
                    .to_owned(),
                to: describe(&row.to),
                due: row.due,
                body: row.envelope.body,
            }),
        }
    }
    told
}

fn fails(error: &HandlerError) -> Verdict {
    Verdict::Fails {
        class: error.class(),
        reason: error.reason(),
        text: error.to_string(),
    }
}

/// The message as a replay sends it.
fn replayed(incoming: &Incoming) -> Incoming {
    let headers = incoming.headers.iter();
    let kept =
        headers.filter(|(name, _)| !name.starts_with(headers::ERROR_PREFIX) && name != headers::REPLAY);
    let replay = (headers::REPLAY.to_owned(), b"1".to_vec());
    Incoming {
        headers: kept.cloned().chain([replay]).collect(),
        ..incoming.clone()
    }
}
