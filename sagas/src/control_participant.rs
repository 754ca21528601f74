//! Takes what operators want of instances: on the instance as it is, in the commit that handles the message.

use longhaul_core::handler::{HandlerError, HandlerResult, Received};
use longhaul_core::message::MessageKind;
use longhaul_core::stateful::{Accepts, Effects, StatefulHandler, Work};
use longhaul_core::store::{Record, RecordKey};

use crate::arrival::{Case, Place};
use crate::control::{Action, Operate};
use crate::correlation;
use crate::finish::conclude;
use crate::intervention::Intervention;
use crate::ledger::Ledger;
use crate::operate::{self, End};
use crate::participant::SagaParticipant;
use crate::saga::Saga;
use crate::saga_id::check_key;
use crate::status::Status;
use crate::stored::Stored;

/// Takes [`Operate`] for one saga.
///
/// It does not keep the saga's order: what an operator wants must not wait behind the message that made it necessary.
#[derive(Debug)]
pub(crate) struct SagaControl<S: Saga> {
    saga: SagaParticipant<S>,
    /// Its name, and the wire name of what it takes.
    name: String,
}

impl<S: Saga> SagaControl<S> {
    pub(crate) fn new() -> Self {
        Self {
            saga: SagaParticipant::new(),
            name: Operate::type_name(S::NAME),
        }
    }

    fn operate(&self, operate: &Operate, case: Case<'_>, record: &Record) -> HandlerResult<Effects> {
        let received = case.received;
        let refused = |why: String| self.refused(operate, &why);
        let mut stored = Stored::read(record)?;
        let Some(mut life) = stored.live.take() else {
            return Err(refused(format!("it is finished ({})", stored.status)));
        };
        if case.is_for_another_life(&stored) {
            return Err(refused(String::from(
                "the life that was meant is over, and another one has begun; look at it again",
            )));
        }
        let intervention = match &operate.action {
            Action::RetryStep { step } => Intervention::Retry(step.as_ref()),
            Action::SkipStep { step } => Intervention::Skip(step),
            Action::Compensate => Intervention::Compensate,
            Action::GiveUp => return self.give_up(operate, case, record),
        };
        let ledger = Ledger::of(stored.status, &mut life);
        let awake = self.saga.wake(case, &stored, life, ledger)?;
        let (state, mut ctx, existing) = (awake.state, awake.ctx, awake.existing);
        let what = ctx.ledger.intervene(&mut ctx.turn, intervention, operate.why());
        let existing = existing.operated(what.map_err(refused)?);
        conclude(&self.saga.definition, state, ctx, &existing, received)
    }

    /// Without the saga's code, so that state which can't be read is no hindrance.
    fn give_up(&self, operate: &Operate, case: Case<'_>, record: &Record) -> HandlerResult<Effects> {
        let received = case.received;
        let end = End {
            reason: &operate.why(),
            message: Some(&received.envelope.id),
            events: self.saga.definition.history,
            until: received.now + received.retention,
        };
        let ended = operate::end(record, &end, case.work.outbound, received.now);
        let ended = ended.map_err(HandlerError::permanent)?;
        Ok(Effects {
            became: vec![Status::given_up::<S>()],
            ..ended
        })
    }

    fn refused(&self, operate: &Operate, why: &str) -> HandlerError {
        let Operate { action, id, .. } = operate;
        HandlerError::permanent(format!("{action} of {} {id:?}: {why}", S::NAME))
    }
}

impl<S: Saga> StatefulHandler for SagaControl<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn accepts(&self) -> Vec<Accepts> {
        vec![Accepts {
            type_name: self.name.clone().into(),
            kind: MessageKind::Command,
        }]
    }

    fn keys(&self, received: &Received) -> HandlerResult<Vec<RecordKey>> {
        let operate: Operate = received.decode()?;
        check_key(&operate.id, S::NAME, &received.type_name)?;
        Ok(vec![RecordKey::new(
            correlation::collection(S::NAME),
            &operate.id,
        )])
    }

    fn handle(&self, received: &Received, work: Work<'_>) -> HandlerResult<Effects> {
        let operate: Operate = received.decode()?;
        if let Some(fault) = operate.fault() {
            return Err(self.refused(&operate, &fault));
        }
        let place = Place {
            key: operate.id.clone(),
            incarnation: operate
                .incarnation
                .as_ref()
                .map(longhaul_core::ids::MessageId::as_str),
            may_create: false,
        };
        let case = Case {
            received,
            work,
            place,
        };
        match case.record().cloned() {
            Some(record) => self.operate(&operate, case, &record),
            None => Err(self.refused(&operate, "there is none of that id; see `longhaul sagas list`")),
        }
    }
}
