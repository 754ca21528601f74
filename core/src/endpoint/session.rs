//! Sending from code that is not a handler: a web request, a command line, a start-up routine.

use std::fmt;
use std::sync::Arc;

use crate::clock::{Timestamp, within};
use crate::endpoint::compose::{self, Cause};
use crate::endpoint::probing::pass;
use crate::endpoint::settings::CONFLICTS;
use crate::endpoint::shared::Shared;
use crate::endpoint::{EndpointError, EndpointErrorKind};
use crate::ids::{MessageId, new_message_id};
use crate::message::{Command, Event};
use crate::outbound::{Outbound, Outgoing};
use crate::stateful::Effects;
use crate::store::{LoadRequest, PendingChange, Record, RecordKey, StoreErrorKind, UnitOfWork};
use crate::transport::Dispatch;

/// Sends messages of an endpoint from outside its handlers. Cheap to clone.
///
/// With a store, `commit` writes the messages down, and the endpoint, which must be running sooner or later, sends them:
/// once `commit` returns they will arrive, whatever crashes. Without a store, `commit` returns when the broker has them.
#[derive(Debug, Clone)]
pub struct Session {
    pub(super) shared: Arc<Shared>,
}

impl Session {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Begins a batch of messages that leave together or not at all.
    pub fn begin(&self) -> Batch {
        let id = new_message_id(self.shared.clock.now(), &*self.shared.randomness);
        self.begin_as(id)
    }

    /// Begins a batch under an id of the caller's, for example a request's: repeated under the same id, with the same
    /// messages, it sends nothing new.
    pub fn begin_as(&self, id: MessageId) -> Batch {
        let shared = &self.shared;
        let outbound = Outbound::new(
            id,
            shared.name.clone(),
            Arc::from("session"),
            Arc::clone(&shared.codec),
        );
        Batch {
            shared: Arc::clone(shared),
            outbound,
        }
    }

    /// Sends one command.
    ///
    /// # Errors
    /// See [`Batch::commit`].
    pub async fn send<C: Command>(&self, command: C) -> Result<MessageId, EndpointError> {
        let mut batch = self.begin();
        let id = batch.send(command).id.clone();
        batch.commit().await?;
        Ok(id)
    }

    /// Publishes one event.
    ///
    /// # Errors
    /// See [`Batch::commit`].
    pub async fn publish<E: Event>(&self, event: E) -> Result<MessageId, EndpointError> {
        let mut batch = self.begin();
        let id = batch.publish(event).id.clone();
        batch.commit().await?;
        Ok(id)
    }
}

impl Session {
    /// Changes one stored record as an operator wants it, with what is sent and which timeouts are asked for, in one
    /// commit. `decide` says what to do with the record as it is; it runs again where somebody else changed it meanwhile.
    ///
    /// # Errors
    /// [`EndpointErrorKind::Refused`]: there is no such record, `decide` refused, or what it wants can't be sent.
    /// [`EndpointErrorKind::Store`]: the store failed, or there is none; the outcome may be unknown.
    pub async fn change_record<E: fmt::Display>(
        &self,
        key: &RecordKey,
        decide: impl Fn(&Record, Outbound, Timestamp) -> Result<Effects, E>,
    ) -> Result<(), EndpointError> {
        let shared = &self.shared;
        let refused = |text: String| EndpointError::new(EndpointErrorKind::Refused, text);
        let Some(store) = shared.store.as_deref() else {
            return Err(EndpointError::store(
                "change a record: this endpoint has no store; give it one with `.persistence(…)`",
            ));
        };
        let id = new_message_id(shared.clock.now(), &*shared.randomness);
        for _ in 0..CONFLICTS {
            let now = shared.clock.now();
            let request = LoadRequest {
                inbox: id.clone(),
                records: vec![key.clone()],
                pending: None,
                now,
            };
            let loaded = shared.load(store, &request).await;
            let loaded = loaded.map_err(|error| EndpointError::store(error.to_string()))?;
            let record = loaded.records.into_iter().next().flatten();
            let record = record.ok_or_else(|| {
                refused(format!(
                    "change the record {:?} of {:?}: there is none",
                    key.id, key.collection
                ))
            })?;
            let outbound = self.begin_as(id.clone()).outbound;
            let effects = decide(&record, outbound, now).map_err(|error| refused(error.to_string()))?;
            let cause = Cause {
                incoming: None,
                now,
                time_sent: Some(now),
            };
            let rows = compose::rows(shared, cause, effects.outbound);
            let mut rows = rows.map_err(|error| refused(error.to_string()))?;
            let entries = compose::entries(shared, now, &mut rows);
            let rows = rows.into_iter().map(|row| PendingChange::Add(Box::new(row)));
            let work = UnitOfWork {
                records: effects.records,
                pending: effects.pending.into_iter().chain(rows).collect(),
                ..UnitOfWork::default()
            };
            match shared.commit(store, work).await {
                Ok(()) => {
                    shared.queue.push(entries);
                    return Ok(());
                }
                Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                Err(error) => return Err(EndpointError::store(error.to_string())),
            }
        }
        Err(EndpointError::store(
            "change a record: others changed it at the same time, again and again; try later",
        ))
    }
}

/// Messages that leave together.
#[derive(Debug)]
#[must_use = "nothing is sent before `commit`"]
pub struct Batch {
    shared: Arc<Shared>,
    outbound: Outbound,
}

impl Batch {
    /// Adds a command.
    #[expect(clippy::needless_pass_by_value, reason = "sending gives the message away")]
    pub fn send<C: Command>(&mut self, command: C) -> &mut Outgoing {
        self.outbound.send(&command)
    }

    /// Adds an event.
    #[expect(clippy::needless_pass_by_value, reason = "publishing gives the message away")]
    pub fn publish<E: Event>(&mut self, event: E) -> &mut Outgoing {
        self.outbound.publish(&event)
    }

    /// Writes the messages down (with a store) or hands them to the broker (without).
    ///
    /// # Errors
    /// [`EndpointErrorKind::Refused`]: no route, too large, a reserved header; nothing was sent.
    /// [`EndpointErrorKind::Store`] or [`EndpointErrorKind::Transport`]: the outcome may be unknown; commit the same
    /// messages again under the same id ([`Session::begin_as`]).
    pub async fn commit(self) -> Result<(), EndpointError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let cause = Cause {
            incoming: None,
            now,
            time_sent: Some(now),
        };
        let refused = |error: crate::handler::HandlerError| {
            EndpointError::new(EndpointErrorKind::Refused, error.to_string())
        };
        let Some(store) = shared.store.as_deref() else {
            let batch = compose::dispatches(shared, cause, self.outbound).map_err(refused)?;
            return send_now(shared, &batch).await;
        };
        if shared.queue.backlog(now) >= shared.settings.backlog {
            return Err(EndpointError::new(
                EndpointErrorKind::Store,
                "send the message: too many messages wait for the broker already; try again later",
            ));
        }
        let mut rows = compose::rows(shared, cause, self.outbound).map_err(refused)?;
        let entries = compose::entries(shared, now, &mut rows);
        let pending = rows
            .into_iter()
            .map(|row| PendingChange::Add(Box::new(row)))
            .collect();
        let work = UnitOfWork {
            pending,
            ..UnitOfWork::default()
        };
        pass!(shared, Before CommitBatch);
        let committed = shared.commit(store, work).await;
        pass!(shared, After CommitBatch);
        committed.map_err(|error| EndpointError::store(error.to_string()))?;
        shared.queue.push(entries);
        Ok(())
    }
}

/// Hands messages to the broker in batches of its size; the first that it refuses is the error.
async fn send_now(shared: &Shared, dispatches: &[Dispatch]) -> Result<(), EndpointError> {
    for batch in dispatches.chunks(shared.transport.capabilities().max_batch.max(1)) {
        let answer = within(
            &*shared.clock,
            shared.settings.call_limit,
            shared.transport.dispatch(batch),
        )
        .await;
        let results = answer.ok_or_else(|| {
            EndpointError::new(
                EndpointErrorKind::Transport,
                "send the message: the broker did not answer in time",
            )
        })?;
        for result in results {
            result.map_err(|error| EndpointError::new(EndpointErrorKind::Transport, error.to_string()))?;
        }
    }
    Ok(())
}
