//! What must come of programs, computed from them alone; and what came of them.

use std::collections::BTreeMap;

use longhaul_sagas::Outcome;

use super::runner::Runner;
use super::services::{Add, Counter, Entry, PayIn, PayOut, Subtract, read_about};
use super::{Answer, COUNTERS, Call, Callee, Program, Step, Undo};
use crate::effects::Effects;

/// What must come of one program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) is_completed: bool,
    /// The calls that it makes.
    pub(super) calls: Vec<Call>,
    /// The numbers of the calls that are undone, once for each attempt, in order.
    pub(super) undos: Vec<u8>,
}

/// What came of one program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) outcome: Option<Outcome>,
    /// How often it was changed after its end.
    pub(super) changes_after_end: usize,
    /// The numbers of the calls that it sent.
    pub(super) calls: Vec<u8>,
    /// The numbers of the undos that it sent, in order.
    pub(super) undos: Vec<u8>,
}

/// What came of all programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) programs: BTreeMap<u64, Came>,
    pub(super) counters: BTreeMap<u8, Counter>,
    /// What the third party did.
    pub(super) till: Vec<Entry>,
}

impl Step {
    /// The calls that it makes.
    pub(super) fn calls(&self) -> &[Call] {
        match self {
            Self::All(calls) => calls,
            Self::Fork(call) => std::slice::from_ref(call),
            Self::Wait(_) | Self::Alarm(_) | Self::Move(_) | Self::Cancel | Self::Await | Self::Fail => &[],
        }
    }

    /// Whether the program gives up here.
    fn fails(&self) -> bool {
        *self == Self::Fail || self.calls().iter().any(|call| call.answer == Answer::Fatal)
    }
}

/// What must come of a program.
pub(super) fn expect(program: &Program) -> Expected {
    let fails_at = program.steps.iter().position(Step::fails);
    let taken = fails_at.map_or(program.steps.len(), |at| at + 1);
    let calls: Vec<Call> = program.steps[..taken]
        .iter()
        .flat_map(Step::calls)
        .copied()
        .collect();
    let mut undos = Vec::new();
    if fails_at.is_some() {
        let done = |call: &&Call| call.answer == Answer::Done;
        for call in calls.iter().rev().filter(done) {
            match call.undo {
                Undo::Once => undos.push(call.number),
                Undo::Twice => undos.extend([call.number; 2]),
                Undo::Never | Undo::Late => {}
            }
        }
        let late = calls.iter().filter(|call| call.undo == Undo::Late);
        undos.extend(late.map(|call| call.number));
    }
    Expected {
        is_completed: fails_at.is_none(),
        calls,
        undos,
    }
}

/// What the callees must have done for a program, each with whom it did it for.
fn entries(program: u64, expected: &Expected) -> Vec<(Callee, Entry)> {
    let mut entries = Vec::new();
    for call in expected.calls.iter().filter(|call| call.answer == Answer::Done) {
        entries.push((call.to, (program, call.number, call.amount)));
        if expected.undos.contains(&call.number) {
            entries.push((call.to, (program, call.number, -call.amount)));
        }
    }
    entries
}

/// Whether what came of programs is what must come of them.
pub(super) fn compare(programs: &[Program], found: &Found) -> Result<(), String> {
    let mut done = Vec::new();
    for program in programs {
        let expected = expect(program);
        done.extend(entries(program.id, &expected));
        let came = found.programs.get(&program.id).cloned().unwrap_or_default();
        compare_one(&expected, came).map_err(|what| format!("program {} {what}: {program:?}", program.id))?;
    }
    let of = |callee: Callee| {
        let of_callee = done.iter().filter(|(to, _)| *to == callee);
        sorted(of_callee.map(|(_, entry)| *entry).collect())
    };
    same("the till", &of(Callee::Till), &sorted(found.till.clone()))?;
    for number in 0..COUNTERS {
        let expected = of(Callee::Counter(number));
        let counter = found.counters.get(&number).cloned().unwrap_or_default();
        let value: i64 = expected.iter().map(|(_, _, amount)| amount).sum();
        if counter.value != value {
            return Err(format!(
                "counter {number} is at {} instead of {value}",
                counter.value
            ));
        }
        same(&format!("counter {number}"), &expected, &sorted(counter.entries))?;
    }
    Ok(())
}

fn compare_one(expected: &Expected, came: Came) -> Result<(), String> {
    let outcome = if expected.is_completed {
        Outcome::Completed
    } else {
        Outcome::Compensated
    };
    if came.outcome != Some(outcome) {
        return Err(format!("ended as {:?} instead of {outcome:?}", came.outcome));
    }
    if came.changes_after_end > 0 {
        return Err(format!(
            "was changed {} times after its end",
            came.changes_after_end
        ));
    }
    let calls = sorted(expected.calls.iter().map(|call| call.number).collect());
    let sent = sorted(came.calls);
    if sent != calls {
        return Err(format!("made the calls {sent:?} instead of {calls:?}"));
    }
    if came.undos != expected.undos {
        return Err(format!("undid {:?} instead of {:?}", came.undos, expected.undos));
    }
    Ok(())
}

fn same(whose: &str, expected: &[Entry], found: &[Entry]) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let missing = expected.iter().filter(|entry| !found.contains(entry));
    let missing: Vec<_> = missing.collect();
    Err(format!(
        "{whose} did {found:?} instead of {expected:?} (program, call, amount); it lacks {missing:?}"
    ))
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items
}

/// What came of all programs.
pub(super) fn found(effects: &Effects) -> Found {
    let mut found = Found::default();
    for unit in effects.history("programs") {
        for (id, instance) in unit.changed::<Runner>() {
            let Ok(id) = id.parse() else { continue };
            let came = found.programs.entry(id).or_default();
            came.changes_after_end += usize::from(came.outcome.is_some());
            came.outcome = instance.outcome;
        }
    }
    for sent in effects.sent() {
        let add = sent.read().map(|m: Add| (m.program, m.call.number));
        let call = add.or_else(|| sent.read().map(|m: PayIn| (m.program, m.call.number)));
        if let Some((program, number)) = call {
            found.programs.entry(program).or_default().calls.push(number);
        }
        let subtract = sent.read().map(|m: Subtract| (m.program, m.call.number));
        let undo = subtract.or_else(|| sent.read().map(|m: PayOut| (m.program, m.call.number)));
        if let Some((program, number)) = undo {
            found.programs.entry(program).or_default().undos.push(number);
        }
    }
    for unit in effects.history("counters") {
        for (id, instance) in unit.changed::<Counter>() {
            let counter = instance.state.and_then(|state| serde_json::from_str(&state).ok());
            if let (Ok(id), Some(counter)) = (id.parse(), counter) {
                found.counters.insert(id, counter);
            }
        }
    }
    let calls = effects.calls("pay in").chain(effects.calls("pay out"));
    let entries = calls.filter_map(|call| {
        let (program, number) = read_about(&call.about)?;
        Some((program, number, call.amount))
    });
    found.till = entries.collect();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u8, to: Callee, undo: Undo) -> Call {
        Call {
            number,
            to,
            amount: 10 + i64::from(number),
            answer: Answer::Done,
            slow: 0,
            undo,
        }
    }

    fn failing() -> Program {
        let fatal = Call {
            answer: Answer::Fatal,
            ..call(3, Callee::Counter(1), Undo::Once)
        };
        Program {
            id: 7,
            steps: vec![
                Step::All(vec![
                    call(0, Callee::Counter(0), Undo::Twice),
                    call(1, Callee::Till, Undo::Once),
                ]),
                Step::Fork(call(2, Callee::Counter(0), Undo::Never)),
                Step::All(vec![fatal]),
                Step::Fork(call(4, Callee::Counter(0), Undo::Once)),
            ],
        }
    }

    fn good() -> Found {
        let came = Came {
            outcome: Some(Outcome::Compensated),
            changes_after_end: 0,
            calls: vec![1, 0, 2, 3],
            undos: vec![1, 0, 0],
        };
        let entries = vec![(7, 2, 12), (7, 0, 10), (7, 0, -10)];
        Found {
            programs: BTreeMap::from([(7, came)]),
            counters: BTreeMap::from([(0, Counter::of(12, entries))]),
            till: vec![(7, 1, 11), (7, 1, -11)],
        }
    }

    fn with(change: impl FnOnce(&mut Found, &mut Came)) -> Result<(), String> {
        let mut found = good();
        let mut came = found.programs.remove(&7).expect("it is there");
        change(&mut found, &mut came);
        found.programs.insert(7, came);
        compare(&[failing()], &found)
    }

    #[test]
    fn when_a_program_fails_what_was_done_is_undone_in_reverse_and_late_calls_last() {
        assert_eq!(expect(&failing()).undos, [1, 0, 0]);
        let late = Program {
            id: 1,
            steps: vec![
                Step::Fork(call(0, Callee::Till, Undo::Once)),
                Step::Fork(call(1, Callee::Counter(0), Undo::Late)),
                Step::Fail,
                Step::Wait(5),
            ],
        };
        let expected = expect(&late);
        assert_eq!((expected.is_completed, expected.undos), (false, vec![0, 1]));
    }

    #[test]
    fn when_no_step_fails_nothing_is_undone() {
        let mut program = failing();
        program.steps.remove(2);
        let expected = expect(&program);
        assert_eq!((expected.is_completed, expected.undos), (true, vec![]));
        assert_eq!(expected.calls.len(), 4);
    }

    #[test]
    fn when_all_is_as_computed_nothing_is_found() {
        assert_eq!(with(|_, _| {}), Ok(()));
    }

    #[test]
    fn when_a_program_ends_otherwise_or_goes_on_after_its_end_it_is_found() {
        assert!(with(|_, came| came.outcome = Some(Outcome::Completed)).is_err());
        assert!(with(|_, came| came.outcome = None).is_err());
        assert!(with(|_, came| came.changes_after_end = 1).is_err());
        assert!(compare(&[failing()], &Found::default()).is_err());
    }

    #[test]
    fn when_undos_are_missing_or_too_many_or_in_another_order_it_is_found() {
        for undos in [vec![0, 0, 1], vec![1, 0], vec![1, 0, 0, 0], vec![1, 0, 0, 2]] {
            assert!(with(|_, came| came.undos = undos).is_err());
        }
    }

    #[test]
    fn when_a_call_is_missing_or_made_twice_it_is_found() {
        assert!(with(|_, came| came.calls.truncate(3)).is_err());
        assert!(with(|_, came| came.calls.push(4)).is_err());
        assert!(with(|found, _| found.till.push((7, 1, 11))).is_err());
        assert!(with(|found, _| found.till.truncate(1)).is_err());
        let twice = Counter::of(12, vec![(7, 2, 6), (7, 2, 6), (7, 0, 10), (7, 0, -10)]);
        assert!(with(|found, _| drop(found.counters.insert(0, twice))).is_err());
    }

    #[test]
    fn when_a_counter_is_off_by_one_it_is_found() {
        let off = Counter::of(13, good().counters[&0].entries.clone());
        assert!(with(|found, _| drop(found.counters.insert(0, off))).is_err());
        let stray = Counter::of(0, vec![(8, 0, 5), (8, 0, -5)]);
        assert!(with(|found, _| drop(found.counters.insert(2, stray))).is_err());
    }
}
