//! What can go wrong: each fault takes one of its kind from those that are left.

use crate::protocol::Found;
use crate::state::{MESSAGES, PROCESSES, Phase, Process, ProcessId, Row, State, Way};
use crate::step::Step;

/// Adds every fault that may happen in `state` to `found`, with the state after it.
pub(crate) fn steps(state: &State, found: &mut Found) {
    for message in MESSAGES.into_iter().filter(|_| state.left.duplicates > 0) {
        let mut next = *state;
        next.left.duplicates -= 1;
        next.put(message);
        found.push((Step::Duplicate(message), next));
    }
    if state.left.crashes > 0 {
        found.push((Step::CrashStore, after_crash_of_store(*state)));
    }
    for who in PROCESSES {
        crash(state, who, found);
        lapses(state, who, found);
        errors(state, who, found);
        refusals(state, who, found);
    }
}

/// What was not durable is gone; who waits for an answer gets an error and looks again.
fn after_crash_of_store(mut state: State) -> State {
    state.left.crashes -= 1;
    state.visible = state.durable;
    for process in &mut state.processes {
        if let Some(message) = process.phase.committing() {
            process.phase = Phase::Received(message);
        }
        process.let_leases_end();
    }
    state
}

/// All that was in memory is gone. A unit that the store has executed stays.
fn crash(state: &State, who: ProcessId, found: &mut Found) {
    let process = state.process(who);
    if state.left.crashes == 0 || *process == Process::NEW {
        return;
    }
    let mut next = *state;
    next.left.crashes -= 1;
    *next.process_mut(who) = Process::NEW;
    put_back(&mut next, process);
    found.push((Step::CrashProcess(who), next));
}

/// Leases that end while the process is at work. It may hear of a delivery that is lost, sooner or later or never.
fn lapses(state: &State, who: ProcessId, found: &mut Found) {
    let process = state.process(who);
    let may_lapse = state.left.lapses > 0;
    for row in process.leases.iter().filter(|_| may_lapse) {
        let mut next = *state;
        next.left.lapses -= 1;
        next.process_mut(who).leases.remove(row);
        found.push((Step::LapseRow(who, row), next));
    }
    let Some(message) = process.phase.message() else {
        return;
    };
    let mut next = *state;
    if !process.may_settle {
        abandon(&mut next, who);
        found.push((Step::Stop(who, message), next));
    } else if may_lapse {
        next.left.lapses -= 1;
        next.process_mut(who).may_settle = false;
        next.put(message);
        found.push((Step::LapseDelivery(who, message), next));
    }
}

/// Commits that are answered with an error.
fn errors(state: &State, who: ProcessId, found: &mut Found) {
    let process = state.process(who);
    let Some(message) = process.phase.message().filter(|_| state.left.errors > 0) else {
        return;
    };
    let mut next = *state;
    next.left.errors -= 1;
    if matches!(process.phase, Phase::Loaded(..)) {
        abandon(&mut next, who);
        put_back(&mut next, process);
        found.push((Step::FailCommit(who, message), next));
    } else if process.phase.committing().is_some() {
        let process = next.process_mut(who);
        process.phase = Phase::Received(message);
        process.let_leases_end();
        found.push((Step::LoseAnswer(who, message), next));
    }
}

/// Sends without success: the row stays in the store until a relay claims it.
fn refusals(state: &State, who: ProcessId, found: &mut Found) {
    if state.left.refusals == 0 {
        return;
    }
    let refused = |row: Row| {
        let mut next = *state;
        next.left.refusals -= 1;
        let process = next.process_mut(who);
        process.set_way(row, Way::Nowhere);
        process.let_leases_end();
        next
    };
    let process = state.process(who);
    let queued = process.rows_at(Way::Queued);
    found.extend(queued.iter().map(|row| (Step::Refuse(who, row), refused(row))));
    let taken = process.rows_at(Way::Taken);
    found.extend(
        taken
            .iter()
            .map(|row| (Step::LoseConfirmation(who, row), refused(row))),
    );
}

/// The process has no message in hand any more. A unit that the store has executed stays.
fn abandon(state: &mut State, who: ProcessId) {
    let process = state.process_mut(who);
    process.phase = Phase::Idle;
    process.may_settle = false;
    process.let_leases_end();
}

/// What the process had in hand goes back to the queue, if it was still its to settle.
fn put_back(state: &mut State, process: &Process) {
    if let Some(message) = process.phase.message().filter(|_| process.may_settle) {
        state.put(message);
    }
}
