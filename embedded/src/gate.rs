//! Holds the writer between applying a group and syncing it, for tests of what readers see meanwhile.

use std::sync::{Condvar, Mutex};

#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    shut: bool,
    waiting: bool,
}

impl Gate {
    pub(crate) fn shut(&self) {
        self.state.lock().unwrap().shut = true;
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().shut = false;
        self.changed.notify_all();
    }

    /// Blocks until the writer stands before the gate.
    pub(crate) fn writer_waits(&self) {
        drop(
            self.changed
                .wait_while(self.state.lock().unwrap(), |state| !state.waiting)
                .unwrap(),
        );
    }

    pub(crate) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        while state.shut {
            state.waiting = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
        state.waiting = false;
    }
}
