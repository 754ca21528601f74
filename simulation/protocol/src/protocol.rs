//! The endpoint's protocol: which steps a state allows, and where each leads.

use crate::bounds::Bounds;
use crate::faults;
use crate::mutation::Mutation;
use crate::set::Set;
use crate::state::{Link, MESSAGES, Message, PROCESSES, Phase, Process, ProcessId, Row, State, Way};
use crate::step::Step;

/// How many outputs a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// One output.
    One,
    /// Two outputs.
    Two,
}

impl Outputs {
    const fn count(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// What is searched: the protocol, the faults around it, and the rule that is left out, if any.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// The faults that may happen.
    pub bounds: Bounds,
    /// What each message causes.
    pub outputs: [Outputs; 2],
    /// The rule that is left out.
    pub mutation: Option<Mutation>,
}

/// The steps that are found.
pub(crate) type Found = Vec<(Step, State)>;

impl Protocol {
    /// The protocol as it should be, with one output a message.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            outputs: [Outputs::One; 2],
            mutation: None,
        }
    }

    /// All outputs of both messages.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        MESSAGES.into_iter().flat_map(|message| self.rows_of(message))
    }

    fn rows_of(&self, message: Message) -> impl Iterator<Item = Row> + use<> {
        let outputs = MESSAGES.into_iter().zip(self.outputs);
        let count = outputs
            .filter(|(of, _)| *of == message)
            .map(|(_, outputs)| outputs.count())
            .sum();
        (0..count).map(move |ordinal| Row::output_of(message, ordinal))
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Adds every step that `state` allows to `found`, with the state after it.
    pub(crate) fn steps(&self, state: &State, found: &mut Found) {
        for who in PROCESSES {
            self.handling(state, who, found);
            self.sending(state, who, found);
        }
        if state.visible != state.durable {
            found.push((Step::Sync, synced(*state)));
        }
        faults::steps(state, found);
    }

    /// Receive, load, commit, hear the answer, acknowledge.
    fn handling(&self, state: &State, who: ProcessId, found: &mut Found) {
        match state.process(who).phase {
            Phase::Idle => {
                for message in MESSAGES.into_iter().filter(|message| state.is_ready(*message)) {
                    let mut next = *state;
                    next.take(message);
                    let process = next.process_mut(who);
                    process.phase = Phase::Received(message);
                    process.may_settle = true;
                    found.push((Step::Receive(who, message), next));
                }
            }
            Phase::Received(message) => {
                found.push((Step::Load(who, message), self.loaded(*state, who, message)));
            }
            Phase::Loaded(message, read) => {
                let next = self.committed(*state, who, message, read);
                found.push((Step::Commit(who, message), next));
                if self.is(Mutation::AckBeforeCommit) && state.process(who).may_settle {
                    let mut next = *state;
                    next.process_mut(who).may_settle = false;
                    next.acknowledged.insert(message);
                    found.push((Step::Acknowledge(who, message), next));
                }
            }
            // The store's turn.
            Phase::Executed(_) => {}
            Phase::Durable(message) => {
                let mut next = *state;
                let is_noted = state.visible.inbox.contains(message);
                let process = next.process_mut(who);
                process.phase = if is_noted {
                    Phase::Settling(message)
                } else {
                    Phase::Unnoted(message)
                };
                self.queue(process, message);
                found.push((Step::Answer(who, message), next));
            }
            Phase::Unnoted(message) => {
                let mut next = *state;
                next.visible.inbox.insert(message);
                next.process_mut(who).phase = Phase::Executed(message);
                found.push((Step::Note(who, message), next));
            }
            Phase::Settling(message) => {
                let mut next = *state;
                let process = next.process_mut(who);
                let counts = process.may_settle;
                process.phase = Phase::Idle;
                process.may_settle = false;
                if counts {
                    next.acknowledged.insert(message);
                }
                found.push((Step::Acknowledge(who, message), next));
            }
        }
    }

    /// Asks the store: a known message is acknowledged, a new one handled. Only what is durable is seen.
    fn loaded(&self, mut state: State, who: ProcessId, message: Message) -> State {
        let tables = if self.is(Mutation::LoadBeforeDurable) {
            state.visible
        } else {
            state.durable
        };
        let is_known = tables.inbox.contains(message) && !self.is(Mutation::InboxNotChecked);
        state.process_mut(who).phase = if is_known {
            Phase::Settling(message)
        } else {
            Phase::Loaded(message, tables.version)
        };
        state
    }

    /// Executes inbox entry, record and rows as one, or finds a conflict, after which the process looks again.
    fn committed(&self, mut state: State, who: ProcessId, message: Message, read: u8) -> State {
        let is_known = state.visible.inbox.contains(message) && !self.is(Mutation::InboxNotChecked);
        let is_stale = state.visible.version != read && !self.is(Mutation::VersionNotCompared);
        if is_known || is_stale {
            state.process_mut(who).phase = Phase::Received(message);
            return state;
        }
        if !self.is(Mutation::InboxInOwnTransaction) {
            state.visible.inbox.insert(message);
        }
        state.visible.version = read + 1;
        state.visible.chain.push(Link { message, read });
        let process = state.process_mut(who);
        process.phase = Phase::Executed(message);
        for row in self.rows_of(message) {
            // A young row is left to whoever committed it.
            process.leases.insert(row);
        }
        if self.is(Mutation::SendBeforeDurable) {
            self.queue(process, message);
        }
        for row in self.rows_of(message) {
            state.visible.rows.insert(row);
        }
        state
    }

    /// Queues the outputs of a message to be sent from memory.
    fn queue(&self, process: &mut Process, message: Message) {
        for row in self.rows_of(message) {
            if process.way(row) == Way::Nowhere {
                process.set_way(row, Way::Queued);
            }
        }
        process.let_leases_end();
    }

    /// Send, confirm, mark, and the relay.
    fn sending(&self, state: &State, who: ProcessId, found: &mut Found) {
        let process = state.process(who);
        for row in process.rows_at(Way::Queued).iter() {
            let mut next = *state;
            next.at_broker.insert(row);
            next.process_mut(who).set_way(row, Way::Taken);
            found.push((Step::Send(who, row), next));
        }
        for row in process.rows_at(Way::Taken).iter() {
            let mut next = *state;
            next.process_mut(who).set_way(row, Way::Confirmed);
            found.push((Step::Confirm(who, row), next));
        }
        let confirmed = process.rows_at(Way::Confirmed);
        let marked = if self.is(Mutation::MarkBeforeConfirm) {
            process.rows_under_way()
        } else {
            confirmed
        };
        if !confirmed.is_empty() || !marked.and(state.visible.rows).is_empty() {
            found.push((Step::Mark(who), self::marked(*state, who, confirmed, marked)));
        }
        if self.is(Mutation::RelayOff) {
            return;
        }
        let tables = if self.is(Mutation::ClaimBeforeDurable) {
            state.visible
        } else {
            state.durable
        };
        for row in tables.rows.iter() {
            if !state.is_leased(row) && process.way(row) == Way::Nowhere {
                let mut next = *state;
                let process = next.process_mut(who);
                process.leases.insert(row);
                process.set_way(row, Way::Queued);
                found.push((Step::Claim(who, row), next));
            }
        }
    }
}

/// Removes the rows that are marked, which ends the leases on them.
fn marked(mut state: State, who: ProcessId, confirmed: Set<Row>, marked: Set<Row>) -> State {
    state.visible.rows.remove_all(marked);
    for process in &mut state.processes {
        process.leases.remove_all(marked);
    }
    let process = state.process_mut(who);
    for row in confirmed.iter() {
        process.set_way(row, Way::Nowhere);
    }
    state
}

/// What was executed becomes durable, all at once.
fn synced(mut state: State) -> State {
    state.durable = state.visible;
    for process in &mut state.processes {
        if let Phase::Executed(message) = process.phase {
            process.phase = Phase::Durable(message);
        }
    }
    state
}
