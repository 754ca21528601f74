//! Draws a program from a seed.

use super::{Answer, COUNTERS, Call, Callee, Program, Step, Undo};
use crate::random::Random;

/// No program makes many more calls, for each has a bit.
const MOST_CALLS: u8 = 56;
const HOUR: u32 = 3600;

struct Draft {
    random: Random,
    calls: u8,
    seconds_left: u64,
    /// Nothing takes hours.
    is_brief: bool,
    /// Seconds until the last alarm rings, as asked for.
    alarm: Option<u64>,
    steps: Vec<Step>,
}

/// The program with that id of that seed: up to 20 steps, short ones more often than long ones, and so many seconds at
/// most.
pub(super) fn draw(seed: u64, id: u64, most_seconds: u64) -> Program {
    let mut random = Random::new(seed.wrapping_mul(0x1_0001).wrapping_add(id));
    random.next();
    let most = [3, 5, 8, 18][usize::try_from(random.below(4)).unwrap_or(0)];
    let length = 1 + random.below(most);
    let mut draft = Draft {
        random,
        calls: 0,
        seconds_left: most_seconds,
        is_brief: most_seconds < u64::from(HOUR),
        alarm: None,
        steps: Vec::new(),
    };
    let fails_after = draft.random.below(2 * length);
    for at in 0..length {
        draft.step();
        if at == fails_after {
            draft.fail();
        }
    }
    draft.steps.truncate(20);
    Program {
        id,
        steps: draft.steps,
    }
}

impl Draft {
    fn step(&mut self) {
        let kind = match self.random.below(16) {
            // No further calls.
            0..10 if self.calls + 4 > MOST_CALLS => 10,
            kind => kind,
        };
        let step = match kind {
            0..6 => Step::All(vec![self.call()]),
            6..8 => {
                let count = 2 + self.random.below(3);
                Step::All((0..count).map(|_| self.call()).collect())
            }
            8..10 => Step::Fork(self.call()),
            10 | 11 => Step::Wait(self.seconds()),
            12 => {
                // Moved or cancelled as a rule, and waited for now and then.
                let seconds = 1 + self.random.below(self.seconds_left.max(1));
                self.alarm = Some(seconds);
                Step::Alarm(seconds)
            }
            13 => {
                let seconds = self.seconds();
                self.alarm = self.alarm.map(|_| seconds);
                Step::Move(seconds)
            }
            14 => {
                self.alarm = None;
                Step::Cancel
            }
            _ => return self.await_alarm(),
        };
        self.steps.push(step);
    }

    fn await_alarm(&mut self) {
        let alarm = self.alarm.take().unwrap_or(0);
        if alarm > self.seconds_left || (alarm > u64::from(HOUR) && self.random.below(32) != 0) {
            let seconds = self.seconds();
            self.steps.push(Step::Move(seconds));
        } else {
            self.seconds_left -= alarm;
        }
        self.steps.push(Step::Await);
    }

    /// Whatever comes afterwards is never done.
    fn fail(&mut self) {
        let call = self.call();
        // A late answer is hours of virtual time.
        let kind = self.random.below(if self.is_brief { 15 } else { 16 });
        match kind {
            0..6 => self.steps.push(Step::Fail),
            6..15 => {
                let others = (0..self.random.below(3)).map(|_| self.call());
                let mut calls: Vec<Call> = others.collect();
                let fatal = Call {
                    answer: Answer::Fatal,
                    ..call
                };
                let place = self.random.below(calls.len() as u64 + 1);
                calls.insert(usize::try_from(place).unwrap_or(0), fatal);
                self.steps.push(Step::All(calls));
            }
            _ => {
                self.steps.push(Step::Fork(Call {
                    to: Callee::Counter(0),
                    answer: Answer::Done,
                    slow: 6 * HOUR,
                    undo: Undo::Late,
                    ..call
                }));
                self.steps.push(Step::Fail);
            }
        }
    }

    fn call(&mut self) -> Call {
        let number = self.calls;
        self.calls += 1;
        let most_slow = if self.is_brief { 60 } else { 1200 };
        let random = &mut self.random;
        let to = match random.below(4) {
            0 => Callee::Till,
            counter => Callee::Counter(u8::try_from(counter % u64::from(COUNTERS)).unwrap_or(0)),
        };
        let is_counted = to != Callee::Till;
        Call {
            number,
            to,
            amount: 1 + i64::try_from(random.below(100)).unwrap_or(0),
            answer: match random.below(8) {
                0 => Answer::Refused,
                _ => Answer::Done,
            },
            slow: match (random.below(12), is_counted) {
                (0, true) => 1 + u32::try_from(random.below(most_slow)).unwrap_or(0),
                (0, false) => 45,
                _ => 0,
            },
            undo: match random.below(8) {
                0 => Undo::Never,
                1 if is_counted => Undo::Twice,
                _ => Undo::Once,
            },
        }
    }

    /// Seconds as a rule, hours at times, days now and then.
    fn seconds(&mut self) -> u64 {
        let most = match self.random.below(128) {
            0..112 => 60,
            112..127 => u64::from(HOUR),
            _ => 2 * 86_400,
        };
        let seconds = 1 + self.random.below(most).min(self.seconds_left / 2);
        self.seconds_left = self.seconds_left.saturating_sub(seconds);
        seconds
    }
}
