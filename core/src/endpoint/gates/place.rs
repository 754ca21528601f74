//! A place in line before the gates.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{Admitted, Gates, stricter};
use crate::endpoint::registry::Takers;
use crate::endpoint::shared::Shared;
use crate::recoverability::Permission;

/// How waiting in line has ended.
#[derive(Debug)]
pub(crate) enum Waited<'a> {
    Admitted(Admitted<'a>),
    /// As [`Answer::Full`].
    Full,
    /// As [`Answer::Closed`].
    Closed,
}

/// A place in line; dropped, it is given up.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(super) gates: &'a Gates,
    pub(super) takers: &'a Takers,
    pub(super) number: u64,
    pub(super) notify: Arc<Notify>,
}

impl<'a> Place<'a> {
    /// Waits until the message is let through, or must go.
    pub(crate) async fn wait(&self, shared: &'a Shared) -> Waited<'a> {
        loop {
            match self.look(shared) {
                Ok(waited) => return waited,
                Err(Permission::At(at)) => tokio::select! {
                    biased;
                    () = self.notify.notified() => {}
                    () = shared.clock.sleep_until(at) => {}
                },
                Err(Permission::Now | Permission::Later) => self.notify.notified().await,
            }
        }
    }

    fn look(&self, shared: &'a Shared) -> Result<Waited<'a>, Permission> {
        let mut state = self.gates.lock();
        let now = shared.clock.now();
        let (own, others) = state.ask(self.takers, now);
        if state.is_closed || (state.is_hurried && own != Permission::Now) {
            return Ok(Waited::Closed);
        }
        let is_first = state.is_first(&self.takers.name, self.number);
        match stricter(own, others) {
            Permission::Now if is_first => {
                let admitted = self.gates.admitted(shared, &mut state, self.takers, now);
                Ok(Waited::Admitted(admitted))
            }
            _ if state.is_hurried => Ok(Waited::Full),
            other if is_first => Err(other),
            _ => Err(Permission::Later),
        }
    }

    /// Whether it is only the endpoint's own breaker that it waits for.
    pub(crate) fn waits_for_endpoint(&self, shared: &Shared) -> bool {
        self.gates.lock().ask(self.takers, shared.clock.now()).0 != Permission::Now
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.gates.lock();
        state.held -= 1;
        if let Some(line) = state.lines.get_mut(&self.takers.name) {
            line.retain(|(number, _)| *number != self.number);
            if line.is_empty() {
                state.lines.remove(&self.takers.name);
            }
        }
        state.wake();
    }
}
