//! What happens when time moves on: timers, the ends of loans, restarts, and what goes wrong by itself.

use std::time::Duration;

use longhaul_core::clock::{Clock, Timestamp};

use super::{Machine, SETTLE};
use crate::hub::World as State;
use crate::plan::WorldFault;
use crate::trace::What;
use crate::transport::renews;

impl Machine<'_> {
    /// When something happens next.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let timers = self
            .processes
            .iter()
            .filter_map(|process| process.clock.next_timer());
        let restarts = self.processes.iter().filter_map(|process| process.restart);
        let state = self.hub.world();
        let pauses = state
            .processes
            .iter()
            .filter_map(|standing| standing.paused_until);
        let events = self.events.front().map(|(at, _)| *at);
        let ends = [self.hub.clock.next_timer(), events, state.broker.next_end()];
        let next = timers
            .chain(restarts)
            .chain(pauses)
            .chain(ends.into_iter().flatten())
            .min();
        // A timer that a fault made overdue is due now.
        next.map(|next| next.max(self.hub.clock.now()))
    }

    pub(super) fn advance(&mut self, to: Timestamp) {
        self.hub.clock.follow(to);
        for process in &self.processes {
            process.clock.follow(to);
        }
        if to >= self.faults_end {
            self.settle();
        }
        {
            let mut state = self.hub.world();
            for at in 0..state.processes.len() {
                if state.processes[at].paused_until.is_some_and(|until| until <= to) {
                    state.processes[at].paused_until = None;
                }
            }
            if state.broker.blocked_until.is_some_and(|until| until <= to) {
                state.broker.blocked_until = None;
            }
            let lost = {
                let State {
                    broker, processes, ..
                } = &mut *state;
                broker.end_loans(to, |holder| renews(processes, holder, to))
            };
            for (process, envelope) in lost {
                state.note(to, process, What::LeaseLost { envelope });
            }
        }
        while let Some((_, what)) = self.events.pop_front_if(|(at, _)| *at <= to) {
            self.happen(what, to);
        }
        for at in 0..self.processes.len() {
            if self.processes[at].restart.is_some_and(|restart| restart <= to) {
                self.begin(at);
            }
        }
    }

    /// Something of the world goes wrong.
    fn happen(&mut self, what: WorldFault, now: Timestamp) {
        let count = self.processes.len();
        let at = |process: u8| usize::from(process).clamp(1, count - 1);
        let (process, text) = match what {
            WorldFault::Cut(process) => {
                let mut state = self.hub.world();
                let standing = &mut state.processes[at(process)];
                standing.connection += 1;
                let lost = state.broker.drop_connection(at(process), now);
                for envelope in lost {
                    state.note(now, at(process), What::LeaseLost { envelope });
                }
                (at(process), String::from("its connection to the broker is cut"))
            }
            WorldFault::EndConsumer(process) => {
                let mut state = self.hub.world();
                state.processes[at(process)].consumer_ended = true;
                state.broker.drop_connection(at(process), now);
                (at(process), String::from("the broker ends its consumer"))
            }
            WorldFault::Block(length) => {
                self.hub.world().broker.blocked_until = Some(now + length);
                (0, format!("the broker takes nothing for {length:?}"))
            }
            WorldFault::Pause(process, length) => {
                self.hub.world().processes[at(process)].paused_until = Some(now + length);
                (at(process), format!("it stands still for {length:?}"))
            }
            WorldFault::Step(process, micros) => {
                self.processes[at(process)].clock.step(micros);
                if micros < 0 {
                    self.slack += Duration::from_micros(micros.unsigned_abs());
                }
                (
                    at(process),
                    format!("its clock jumps by {} s", micros / 1_000_000),
                )
            }
            WorldFault::Stop(process) => {
                if let Some(stop) = self.processes[at(process)].stop.take() {
                    // It may have ended already.
                    stop.send(()).unwrap_or_default();
                }
                (at(process), String::from("it is asked to stop"))
            }
        };
        let length = match what {
            WorldFault::Block(length) | WorldFault::Pause(_, length) => length,
            // A claim that was made before all steps back lasts longer by all of them.
            WorldFault::Step(_, micros) if micros < 0 => self.slack.saturating_sub(SETTLE),
            WorldFault::Step(..) | WorldFault::Cut(_) | WorldFault::EndConsumer(_) | WorldFault::Stop(_) => {
                Duration::ZERO
            }
        };
        let mut state = self.hub.world();
        state.note(now, process, What::World(text));
        state.note(now, process, What::Disturbed { until: now + length });
    }
}
