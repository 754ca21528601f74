//! A saga as the endpoint sees it: a pure function from message and record to what is committed.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use longhaul_core::envelope::Intent;
use longhaul_core::handler::{HandlerResult, Received};
use longhaul_core::ids::MessageId;
use longhaul_core::message::MessageKind;
use longhaul_core::stateful::{Accepts, Became, Described, Effects, StatefulHandler, Taken, Work};
use longhaul_core::store::RecordKey;

use crate::arrival::{Case, Place, alarm_place, answer, nothing, origin};
use crate::context::SagaContext;
use crate::correlation::{self, Identity, Named, named};
use crate::definition::Definition;
use crate::description::Description;
use crate::finish::{Existing, conclude};
use crate::known::Known;
use crate::ledger::Ledger;
use crate::saga::Saga;
use crate::status::{Outcome, Status};
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
            return Ok(Some(Place::named(key, incarnation)));
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
        let case = Case {
            received,
            work,
            place,
        };
        let Some(mut stored) = case.stored()? else {
            return self.without_instance(entry, message, case, None);
        };
        match stored.live.take() {
            None => self.without_instance(entry, message, case, stored.outcome()),
            Some(_) if case.is_for_another_life(&stored) => {
                case.late(entry, message, None, "earlier incarnation")
            }
            Some(life) => self.with_instance(entry, message, case, &stored, life),
        }
    }

    /// There is no instance, or one that is finished.
    fn without_instance(
        &self,
        entry: &Entry<S>,
        message: Decoded,
        case: Case<'_>,
        outcome: Option<Outcome>,
    ) -> HandlerResult<Effects> {
        if let Some(start) = entry.start.as_ref().filter(|_| case.place.may_create) {
            let received = case.received;
            let existing = Existing::none(received.now, case.record());
            let identity = identity::<S>(case.place.key, received.envelope.id.clone());
            let origin = origin(received);
            let mut ctx = SagaContext::new(
                received,
                case.work.outbound,
                identity,
                &self.known,
                origin,
                Ledger::new(),
            );
            let state = start(message, &mut ctx)?;
            return conclude(&self.definition, state, ctx, &existing, received);
        }
        if outcome.is_some() {
            return case.late(entry, message, outcome, "finished");
        }
        if case.received.last_chance && entry.not_found.is_some() {
            return case.late(entry, message, None, "not found");
        }
        Ok(nothing(case.work, Taken::Absent))
    }

    fn with_instance(
        &self,
        entry: &Entry<S>,
        message: Decoded,
        case: Case<'_>,
        stored: &Stored,
        mut life: StoredLife,
    ) -> HandlerResult<Effects> {
        let received = case.received;
        let ledger = Ledger::of(stored.status, &mut life);
        let meaning = ledger.meaning(answer(received));
        let compensating = ledger.is_compensating();
        let run = if compensating {
            &entry.while_compensating
        } else {
            &entry.handle
        };
        if run.is_none() && meaning.is_none() {
            return match (compensating, entry.start.is_some()) {
                (true, _) => case.late(entry, message, None, "compensating"),
                (false, true) => Ok(nothing(case.work, Taken::Ignored("already started"))),
                (false, false) => Ok(nothing(case.work, Taken::Ignored("not expected"))),
            };
        }
        let Awake {
            mut state,
            mut ctx,
            existing,
        } = self.wake(case, stored, life, ledger)?;
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
        let place = alarm_place(received, S::NAME)?;
        let case = Case {
            received,
            work,
            place,
        };
        let Some(mut stored) = case.stored()? else {
            return Ok(nothing(case.work, Taken::Ignored("finished")));
        };
        let Some(mut life) = stored.live.take() else {
            return Ok(nothing(case.work, Taken::Ignored("finished")));
        };
        if case.is_for_another_life(&stored) {
            return Ok(nothing(case.work, Taken::Ignored("earlier incarnation")));
        }
        let name = case.timeout_id().and_then(|id| {
            let timeout = life.timeouts.iter().find(|timeout| timeout.id == id)?;
            Some(timeout.name.clone())
        });
        let mut ledger = Ledger::of(stored.status, &mut life);
        let Some(purpose) = case.timeout_id().and_then(|id| ledger.fired(&id)) else {
            return Ok(nothing(case.work, Taken::Ignored("cancelled")));
        };
        let Awake {
            mut state,
            mut ctx,
            existing,
        } = self.wake(case, &stored, life, ledger)?;
        match (purpose, self.definition.times_out) {
            (Purpose::Own, Some(times_out)) => times_out(&mut state, received.decode()?, &mut ctx)?,
            (Purpose::Own, None) => {}
            (purpose, _) => ctx
                .ledger
                .timed_out(&mut ctx.turn, &self.definition.policy, purpose),
        }
        conclude(&self.definition, state, ctx, &existing.of_timeout(name), received)
    }

    /// Reads the state of an instance and gives it a context.
    pub(crate) fn wake(
        &self,
        case: Case<'_>,
        stored: &Stored,
        life: StoredLife,
        ledger: Ledger,
    ) -> HandlerResult<Awake<S>> {
        let key = &case.place.key;
        let state = self
            .definition
            .evolution
            .read(key, life.state_version, &life.state)?;
        let existing = Existing::some(stored, case.record());
        let identity = identity::<S>(case.place.key, stored.incarnation.clone());
        let ctx = SagaContext::new(
            case.received,
            case.work.outbound,
            identity,
            &self.known,
            life.origin,
            ledger,
        );
        Ok(Awake { state, ctx, existing })
    }
}

/// An instance at work.
pub(crate) struct Awake<S: Saga> {
    pub(crate) state: S,
    pub(crate) ctx: SagaContext<S>,
    pub(crate) existing: Existing,
}

fn identity<S: Saga>(key: String, incarnation: MessageId) -> Identity {
    Identity {
        saga: Cow::Borrowed(S::NAME),
        key,
        incarnation,
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
            return Ok(record(&alarm_place(received, S::NAME)?.key));
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

    fn statuses(&self) -> Vec<Became> {
        Status::all::<S>()
    }

    fn keeps_order(&self) -> bool {
        self.definition.keeps_order
    }

    fn described(&self) -> Option<Described> {
        let description = Description::of::<S>();
        Some(Described {
            name: S::NAME.to_owned(),
            mermaid: description.to_mermaid(),
            graphviz: description.to_graphviz(),
        })
    }

    fn faults(&self) -> Vec<String> {
        self.definition.faults()
    }
}
