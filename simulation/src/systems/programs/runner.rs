//! The saga that runs any program, step by step.

use std::time::Duration;

use longhaul_core::handler::{HandlerError, HandlerResult};
use longhaul_core::message::Command;
use longhaul_sagas::{Definition, Saga, SagaContext, TimeoutId};
use serde::{Deserialize, Serialize};

use super::services::{Add, Done, PayIn, PayOut, Refused, Subtract, UndoRefused, Undone};
use super::{Answer, Call, Callee, Program, Step, Undo};
use crate::systems::patient;

/// For how long the answer to a late call is waited for; it comes much later.
const IMPATIENCE: Duration = Duration::from_secs(600);

/// A program at work.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Runner {
    program: Program,
    /// The number of the step that comes next.
    next: usize,
    waits: Waits,
    /// One bit for each call that was answered.
    answered: u64,
    /// With the number of the step that asked for it.
    alarm: Option<(usize, TimeoutId)>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Waits {
    Not,
    ForCalls(Vec<u8>),
    ForPause,
    ForAlarm,
}

/// What rings, with the number of the step that asked for it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Bell {
    Pause(usize),
    Alarm(usize),
}

impl Saga for Runner {
    const NAME: &'static str = "sim-program";
    type Id = u64;
    type Timeout = Bell;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &Program| m.id, Self::start);
        saga.on_reply(|runner: &mut Self, m: Done, ctx| runner.on_answer(m.number, ctx));
        saga.on_reply(|runner: &mut Self, m: Refused, ctx| runner.on_answer(m.number, ctx));
        saga.expects::<Undone>();
        saga.expects::<UndoRefused>();
        saga.times_out(Self::on_bell);
        saga.compensation(patient());
    }
}

impl Runner {
    fn start(program: Program, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let mut runner = Self {
            program,
            next: 0,
            waits: Waits::Not,
            answered: 0,
            alarm: None,
        };
        runner.go_on(ctx)?;
        Ok(runner)
    }

    fn on_answer(&mut self, number: u8, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let bit = 1 << number;
        if self.answered & bit != 0 {
            return Err(wrong(format!("call {number} is answered twice")));
        }
        self.answered |= bit;
        if self.answer(number) == Some(Answer::Fatal) {
            ctx.compensate(format!("call {number} is refused"));
            return Ok(());
        }
        let Waits::ForCalls(open) = &mut self.waits else {
            return Ok(());
        };
        open.retain(|open| *open != number);
        if open.is_empty() { self.go_on(ctx) } else { Ok(()) }
    }

    fn on_bell(&mut self, bell: Bell, ctx: &mut SagaContext<Self>) -> HandlerResult {
        if ctx.is_compensating() {
            return Ok(());
        }
        match bell {
            Bell::Pause(of) if self.waits == Waits::ForPause && of + 1 == self.next => self.go_on(ctx),
            Bell::Alarm(of) if self.alarm.as_ref().is_some_and(|(at, _)| *at == of) => {
                self.alarm = None;
                if self.waits == Waits::ForAlarm {
                    return self.go_on(ctx);
                }
                Ok(())
            }
            Bell::Pause(of) | Bell::Alarm(of) => {
                Err(wrong(format!("what step {of} asked for rings, and must not")))
            }
        }
    }

    /// How a call is answered, by the program.
    fn answer(&self, number: u8) -> Option<Answer> {
        let calls = self.program.steps.iter().flat_map(Step::calls);
        let mut calls = calls.filter(|call| call.number == number);
        calls.next().map(|call| call.answer)
    }

    /// Takes steps until one has to be waited for, or the program ends.
    fn go_on(&mut self, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.waits = Waits::Not;
        while let Some(step) = self.program.steps.get(self.next).cloned() {
            let at = self.next;
            self.next += 1;
            match step {
                Step::All(calls) => {
                    calls.iter().for_each(|call| self.call(*call, ctx));
                    self.waits = Waits::ForCalls(calls.iter().map(|call| call.number).collect());
                }
                Step::Fork(call) => self.call(call, ctx),
                Step::Wait(seconds) => {
                    ctx.request_timeout(Duration::from_secs(seconds), Bell::Pause(at));
                    self.waits = Waits::ForPause;
                }
                Step::Fail => {
                    ctx.compensate("the program says so");
                    return Ok(());
                }
                Step::Alarm(_) | Step::Move(_) | Step::Cancel | Step::Await => self.alarm(&step, at, ctx)?,
            }
            if self.waits != Waits::Not {
                return Ok(());
            }
        }
        ctx.complete();
        Ok(())
    }

    fn alarm(&mut self, step: &Step, at: usize, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let is_known = match (step, &self.alarm) {
            (Step::Move(seconds), Some((_, alarm))) => ctx.move_timeout(alarm, Duration::from_secs(*seconds)),
            (Step::Alarm(_) | Step::Cancel, Some((_, alarm))) => ctx.cancel_timeout(alarm),
            (Step::Await, Some(_)) => {
                self.waits = Waits::ForAlarm;
                true
            }
            _ => true,
        };
        if !is_known {
            return Err(wrong(format!(
                "step {at} does not find the alarm, which has not rung"
            )));
        }
        match step {
            Step::Alarm(seconds) => {
                let bell = Bell::Alarm(at);
                self.alarm = Some((at, ctx.request_timeout(Duration::from_secs(*seconds), bell)));
            }
            Step::Cancel => self.alarm = None,
            _ => {}
        }
        Ok(())
    }

    fn call(&self, call: Call, ctx: &mut SagaContext<Self>) {
        let program = self.program.id;
        match call.to {
            Callee::Counter(counter) => {
                let add = Add {
                    counter,
                    program,
                    call,
                };
                let subtract = Subtract {
                    counter,
                    program,
                    call,
                };
                send(call, add, subtract, ctx);
            }
            Callee::Till => send(call, PayIn { program, call }, PayOut { program, call }, ctx),
        }
    }
}

fn send(call: Call, command: impl Command, undo: impl Command, ctx: &mut SagaContext<Runner>) {
    let sending = ctx.send(command);
    if call.undo == Undo::Never {
        return;
    }
    let step = sending.undo_with(undo).done_by::<Done>().undone_by::<Undone>();
    if call.undo == Undo::Late {
        step.answered_within(IMPATIENCE);
    }
}

fn wrong(text: String) -> HandlerError {
    HandlerError::permanent(text)
}
