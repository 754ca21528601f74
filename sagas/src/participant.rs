//! A saga as the endpoint sees it: a pure function from message and record to what is committed.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use longhaul_core::envelope::Intent;
use longhaul_core::handler::{HandlerResult, Received};
use longhaul_core::message::MessageKind;
use longhaul_core::stateful::{Accepts, Effects, StatefulHandler, Taken, Work};
use longhaul_core::store::RecordKey;

use crate::arrival::{Place, answer, late, nothing, origin, timeout_id};
use crate::context::SagaContext;
use crate::correlation::{self, Identity, Named, named};
use crate::definition::Definition;
use crate::finish::{Existing, conclude};
use crate::known::Known;
use crate::ledger::Ledger;
use crate::saga::Saga;
use crate::status::Outcome;
use crate::stored::{Purpose, Stored, StoredLife};
use crate::table::{Decoded, Entry};

/// A saga that takes part in handling the messages of an endpoint.
///
/// ```
/// # use longhaul_core::handler::HandlerResult;
/// # use longhaul_core::Event;
/// # use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext, SagaParticipant};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[message("sales.order_placed.v1")]
/// # struct OrderPlaced { order: u64 }
/// # #[derive(Serialize, Deserialize)]
/// # struct Order { order: u64 }
/// # impl Saga for Order {
/// #     const NAME: &'static str = "order";
/// #     type Id = u64;
/// #     type Timeout = NoTimeout;
/// #     fn define(saga: &mut Definition<Self>) {
/// #         saga.starts_on(|m: &OrderPlaced| m.order, |m, _| Ok(Self { order: m.order }));
/// #     }
/// # }
/// use longhaul_core::stateful::StatefulHandler;
///
/// let participant = SagaParticipant::<Order>::new();
/// assert_eq!(participant.name(), "order");
/// assert!(participant.faults().is_empty());
/// ```
pub struct SagaParticipant<S: Saga> {
    pub(crate) definition: Definition<S>,
    known: Arc<Known>,
    timeout_type: String,
}

impl<S: Saga> SagaParticipant<S> {
    /// The saga, with the table that it defines.
    #[must_use]
    pub fn new() -> Self {
        let definition = Definition::of_saga();
        Self {
            known: Arc::new(definition.known()),
            definition,
            timeout_type: correlation::timeout_type(S::NAME),
        }
    }

    /// The instance that a message is for.
    fn place<'a>(
        &self,
        entry: &Entry<S>,
        received: &'a Received,
        message: &dyn Any,
    ) -> HandlerResult<Option<Place<'a>>> {
        let named = named(received, S::NAME)?;
        if let (Named::Ours { key, incarnation }, Intent::Reply) = (named, received.intent) {
            return Ok(Some(Place {
                key: key.to_owned(),
                incarnation: Some(incarnation),
                may_create: false,
            }));
        }
        let may_create = !matches!(named, Named::Ours { .. });
        let key = entry.key(message)?;
        Ok(key.map(|key| Place {
            key,
            incarnation: None,
            may_create,
        }))
    }

    fn message(&self, entry: &Entry<S>, received: &Received, work: Work<'_>) -> HandlerResult<Effects> {
        let message = entry.decode(received)?;
        let Some(place) = self.place(entry, received, &*message)? else {
            return Ok(nothing(work, Taken::Absent));
        };
        let record = work.records.first().and_then(Option::as_ref);
        let stored = record.map(Stored::read).transpose()?;
        let Some(mut stored) = stored else {
            return self.without_instance(entry, received, message, work, place, None);
        };
        let live = match stored.live.take() {
            Some(live)
                if place
                    .incarnation
                    .is_none_or(|meant| meant == stored.incarnation.as_str()) =>
            {
                live
            }
            Some(_) => return late(entry, received, message, work, place, None, "earlier incarnation"),
            None => {
                let outcome = stored.outcome();
                return self.without_instance(entry, received, message, work, place, outcome);
            }
        };
        self.resume(entry, received, message, work, place, &stored, live)
    }

    /// There is no instance, or one that is finished.
    fn without_instance(
        &self,
        entry: &Entry<S>,
        received: &Received,
        message: Decoded,
        work: Work<'_>,
        place: Place<'_>,
        outcome: Option<Outcome>,
    ) -> HandlerResult<Effects> {
        if let Some(start) = entry.start.as_ref().filter(|_| place.may_create) {
            let identity = Identity {
                saga: Cow::Borrowed(S::NAME),
                key: place.key,
                incarnation: received.envelope.id.clone(),
            };
            let existing = Existing::none(received.now, work.records.first().and_then(Option::as_ref));
            let origin = origin(received);
            let mut ctx = SagaContext::new(
                received,
                work.outbound,
                identity,
                &self.known,
                origin,
                Ledger::new(),
            );
            let state = start(message, &mut ctx)?;
            return conclude(&self.definition, state, ctx, &existing, received);
        }
        if outcome.is_some() {
            return late(entry, received, message, work, place, outcome, "finished");
        }
        if received.last_chance && entry.not_found.is_some() {
            return late(entry, received, message, work, place, None, "not found");
        }
        Ok(nothing(work, Taken::Absent))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call, of all that is known about one message"
    )]
    fn resume(
        &self,
        entry: &Entry<S>,
        received: &Received,
        message: Decoded,
        work: Work<'_>,
        place: Place<'_>,
        stored: &Stored,
        mut live: StoredLife,
    ) -> HandlerResult<Effects> {
        let record = work.records.first().and_then(Option::as_ref);
        let mut state: S = self
            .definition
            .evolution
            .read(&place.key, live.state_version, &live.state)?;
        let ledger = Ledger::of(stored.status, &mut live);
        let existing = Existing::some(stored.started, record);
        let identity = Identity {
            saga: Cow::Borrowed(S::NAME),
            key: place.key.clone(),
            incarnation: stored.incarnation.clone(),
        };
        let compensating = ledger.is_compensating();
        let run = if compensating {
            &entry.while_compensating
        } else {
            &entry.handle
        };
        let meaning = ledger.meaning(answer(received));
        if run.is_none() && meaning.is_none() {
            if compensating {
                return late(entry, received, message, work, place, None, "compensating");
            }
            let why = if entry.start.is_some() {
                "already started"
            } else {
                "not expected"
            };
            return Ok(nothing(work, Taken::Ignored(why)));
        }
        let mut ctx = SagaContext::new(
            received,
            work.outbound,
            identity,
            &self.known,
            live.origin,
            ledger,
        );
        if let Some(meaning) = meaning {
            ctx.ledger.take(
                &mut ctx.turn,
                &self.definition.policy,
                meaning,
                &received.type_name,
            );
        }
        if let Some(run) = run {
            run(&mut state, message, &mut ctx)?;
        }
        conclude(&self.definition, state, ctx, &existing, received)
    }

    fn alarm(&self, received: &Received, work: Work<'_>) -> HandlerResult<Effects> {
        let place = self.alarm_place(received)?;
        let record = work.records.first().and_then(Option::as_ref);
        let Some(mut stored) = record.map(Stored::read).transpose()? else {
            return Ok(nothing(work, Taken::Ignored("finished")));
        };
        let Some(mut live) = stored.live.take() else {
            return Ok(nothing(work, Taken::Ignored("finished")));
        };
        if place
            .incarnation
            .is_some_and(|meant| meant != stored.incarnation.as_str())
        {
            return Ok(nothing(work, Taken::Ignored("earlier incarnation")));
        }
        let mut ledger = Ledger::of(stored.status, &mut live);
        let Some(purpose) = timeout_id(received, &work).and_then(|id| ledger.fired(&id)) else {
            return Ok(nothing(work, Taken::Ignored("cancelled")));
        };
        let existing = Existing::some(stored.started, record);
        let mut state: S = self
            .definition
            .evolution
            .read(&place.key, live.state_version, &live.state)?;
        let identity = Identity {
            saga: Cow::Borrowed(S::NAME),
            key: place.key,
            incarnation: stored.incarnation,
        };
        let mut ctx = SagaContext::new(
            received,
            work.outbound,
            identity,
            &self.known,
            live.origin,
            ledger,
        );
        match (purpose, self.definition.times_out) {
            (Purpose::Own, Some(times_out)) => times_out(&mut state, received.decode()?, &mut ctx)?,
            (Purpose::Own, None) => {}
            (purpose, _) => ctx
                .ledger
                .timed_out(&mut ctx.turn, &self.definition.policy, purpose),
        }
        conclude(&self.definition, state, ctx, &existing, received)
    }

    fn alarm_place<'a>(&self, received: &'a Received) -> HandlerResult<Place<'a>> {
        match named(received, S::NAME)? {
            Named::Ours { key, incarnation } => Ok(Place {
                key: key.to_owned(),
                incarnation: Some(incarnation),
                may_create: false,
            }),
            Named::Nothing | Named::Other => Err(correlation::unnamed(S::NAME)),
        }
    }
}

impl<S: Saga> Default for SagaParticipant<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Saga> fmt::Debug for SagaParticipant<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SagaParticipant").field(&self.definition).finish()
    }
}

impl<S: Saga> StatefulHandler for SagaParticipant<S> {
    fn name(&self) -> &str {
        S::NAME
    }

    fn accepts(&self) -> Vec<Accepts> {
        let alarms = Accepts {
            type_name: Cow::Owned(self.timeout_type.clone()),
            kind: MessageKind::Timeout,
        };
        let entries = self.definition.table.entries.values();
        let messages = entries.map(|entry| Accepts {
            type_name: Cow::Borrowed(entry.name),
            kind: entry.kind,
        });
        messages.chain([alarms]).collect()
    }

    fn keys(&self, received: &Received) -> HandlerResult<Vec<RecordKey>> {
        let record = |key: &str| vec![RecordKey::new(correlation::collection(S::NAME), key)];
        if received.type_name == self.timeout_type {
            return Ok(record(&self.alarm_place(received)?.key));
        }
        let Some(entry) = self.definition.table.entries.get(received.type_name.as_str()) else {
            return Ok(Vec::new());
        };
        if let (Named::Ours { key, .. }, Intent::Reply) = (named(received, S::NAME)?, received.intent) {
            return Ok(record(key));
        }
        if entry.keys.is_empty() {
            return Ok(Vec::new());
        }
        let message = entry.decode(received)?;
        Ok(entry.key(&*message)?.map_or_else(Vec::new, |key| record(&key)))
    }

    fn handle(&self, received: &Received, work: Work<'_>) -> HandlerResult<Effects> {
        if received.type_name == self.timeout_type {
            return self.alarm(received, work);
        }
        match self.definition.table.entries.get(received.type_name.as_str()) {
            Some(entry) => self.message(entry, received, work),
            None => Ok(nothing(work, Taken::Absent)),
        }
    }

    fn faults(&self) -> Vec<String> {
        self.definition.faults()
    }
}
