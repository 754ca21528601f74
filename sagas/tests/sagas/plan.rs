//! A saga that does what its first message says, for tests of compensation: any steps, any answers.

use std::time::Duration;

use longhaul_core::handler::HandlerResult;
use longhaul_core::{Command, Event, Message};
use longhaul_sagas::{CompensationPolicy, Definition, Saga, SagaContext};
use serde::{Deserialize, Serialize};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// How long the saga waits for an answer to a step.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(3600);
/// How long it waits for an answer to an undo.
pub(crate) const UNDO_WITHIN: Duration = Duration::from_secs(600);
/// How often it tries an undo.
pub(crate) const ATTEMPTS: u32 = 3;

/// One step of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kind {
    /// It has an undo.
    pub(crate) undo: bool,
    /// It is done when answered, not when sent.
    pub(crate) awaited: bool,
    /// Its undo is undone when answered, not when sent.
    pub(crate) undo_awaited: bool,
}

pub(crate) const FULL: Kind = Kind {
    undo: true,
    awaited: true,
    undo_awaited: true,
};

#[derive(Event, Clone, Serialize, Deserialize)]
#[message("plan.begun.v1")]
pub(crate) struct Begun {
    pub(crate) plan: u64,
    pub(crate) steps: Vec<Kind>,
}

/// Begins with that many steps that are awaited in both directions.
pub(crate) fn begun(steps: usize) -> Begun {
    Begun {
        plan: 7,
        steps: vec![FULL; steps],
    }
}

#[derive(Command, Serialize, Deserialize)]
#[message("plan.do_step.v1")]
pub(crate) struct DoStep {
    pub(crate) step: usize,
}

#[derive(Command, Debug, PartialEq, Serialize, Deserialize)]
#[message("plan.undo_step.v1")]
pub(crate) struct UndoStep {
    pub(crate) step: usize,
}

macro_rules! replies {
    ($($reply:ident = $name:literal),+) => {$(
        #[derive(Message, Serialize, Deserialize)]
        #[message($name)]
        pub(crate) struct $reply;
    )+};
}

replies!(
    StepDone = "plan.step_done.v1",
    StepRefused = "plan.step_refused.v1",
    StepUndone = "plan.step_undone.v1",
    UndoRefused = "plan.undo_refused.v1"
);

/// Something else that happens to the plan.
#[derive(Command, Clone, Serialize, Deserialize)]
#[message("plan.change.v1")]
pub(crate) enum Change {
    /// It is to be undone.
    Stop(u64),
    /// It is to finish.
    Finish(u64),
    /// One more step.
    Extend(u64),
}

#[derive(Command, Serialize, Deserialize)]
#[message("plan.ask.v1")]
pub(crate) struct Ask {
    pub(crate) plan: u64,
}

/// For active plans only; others say that they missed it.
#[derive(Command, Serialize, Deserialize)]
#[message("plan.poke.v1")]
pub(crate) struct Poke {
    pub(crate) plan: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[message("plan.missed.v1")]
pub(crate) struct Missed {
    pub(crate) ended: bool,
}

#[derive(Message, Serialize, Deserialize)]
#[message("plan.answer.v1")]
pub(crate) struct Answer {
    pub(crate) stopping: bool,
}

#[derive(Event, Debug, PartialEq, Serialize, Deserialize)]
#[message("plan.cancelled.v1")]
pub(crate) struct Cancelled {
    pub(crate) reason: String,
}

#[derive(Command, Serialize, Deserialize)]
#[message("plan.reminder.v1")]
pub(crate) struct Reminder;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) steps: usize,
    pub(crate) done: u32,
    pub(crate) refused: u32,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Alarm {
    Daily,
}

impl Saga for Plan {
    const NAME: &'static str = "plan";
    type Id = u64;
    type Timeout = Alarm;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &Begun| m.plan, Self::start);
        saga.on_reply(|plan, _: StepDone, _| {
            plan.done += 1;
            Ok(())
        });
        saga.on_reply(|plan, _: StepRefused, _| {
            plan.refused += 1;
            Ok(())
        });
        saga.expects::<StepUndone>();
        saga.expects::<UndoRefused>();
        saga.handles(Change::plan, Self::on_change);
        saga.handles(|m: &Ask| m.plan, Self::on_asked);
        saga.handles(|m: &Poke| m.plan, |_, _, _| Ok(()));
        saga.not_found(|_: Poke, ctx| {
            let ended = ctx.outcome().is_some();
            ctx.reply(Missed { ended });
            Ok(())
        });
        saga.while_compensating(|m: &Ask| m.plan, Self::on_asked);
        saga.times_out(|_, Alarm::Daily, ctx| {
            ctx.send(Reminder);
            Ok(())
        });
        saga.compensated(|_, ctx| {
            let reason = ctx.compensation_reason().unwrap_or_default().to_owned();
            ctx.publish(Cancelled { reason });
            Ok(())
        });
        saga.compensation(CompensationPolicy {
            answer_within: ANSWER_WITHIN,
            undo_within: UNDO_WITHIN,
            undo_attempts: ATTEMPTS,
            first_backoff: Duration::from_secs(10),
            longest_backoff: Duration::from_secs(15),
        });
    }
}

impl Change {
    fn plan(&self) -> u64 {
        match self {
            Self::Stop(plan) | Self::Finish(plan) | Self::Extend(plan) => *plan,
        }
    }
}

impl Plan {
    fn start(begun: Begun, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        ctx.request_timeout(Duration::from_secs(24 * 3600), Alarm::Daily);
        let mut plan = Self {
            steps: 0,
            done: 0,
            refused: 0,
        };
        begun.steps.into_iter().for_each(|kind| plan.send(kind, ctx));
        Ok(plan)
    }

    fn send(&mut self, kind: Kind, ctx: &mut SagaContext<Self>) {
        let step = self.steps;
        self.steps += 1;
        let sending = ctx.send(DoStep { step });
        if !kind.undo {
            return;
        }
        let sent = sending.undo_with(UndoStep { step });
        let sent = if kind.awaited {
            sent.done_by::<StepDone>()
        } else {
            sent
        };
        if kind.undo_awaited {
            sent.undone_by::<StepUndone>();
        }
    }

    fn on_change(&mut self, change: Change, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match change {
            Change::Stop(_) => ctx.compensate("nobody wants it"),
            Change::Finish(_) => ctx.complete(),
            Change::Extend(_) => self.send(FULL, ctx),
        }
        Ok(())
    }

    fn on_asked(&mut self, _: Ask, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let stopping = ctx.is_compensating();
        ctx.reply(Answer { stopping });
        Ok(())
    }
}
