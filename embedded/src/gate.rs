//! Holds the writer between applying a group and syncing it, and lets the sync fail: for tests.

use std::{
    io,
    sync::{Condvar, Mutex},
};

#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    shut: bool,
    waiting: bool,
    failing: Option<io::ErrorKind>,
    panicking: bool,
}

impl Gate {
    pub(crate) fn shut(&self) {
        self.state.lock().unwrap().shut = true;
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().shut = false;
        self.changed.notify_all();
    }

    /// Lets the next sync fail.
    pub(crate) fn fail(&self, kind: io::ErrorKind) {
        self.state.lock().unwrap().failing = Some(kind);
    }

    /// Lets the next sync panic.
    pub(crate) fn panic(&self) {
        self.state.lock().unwrap().panicking = true;
    }

    /// Blocks until the writer stands before the gate.
    pub(crate) fn writer_waits(&self) {
        drop(
            self.changed
                .wait_while(self.state.lock().unwrap(), |state| !state.waiting)
                .unwrap(),
        );
    }

    pub(crate) fn pass(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        while state.shut {
            state.waiting = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
        state.waiting = false;
        let panicking = std::mem::take(&mut state.panicking);
        let failing = state.failing.take();
        drop(state);
        assert!(!panicking, "a test asked for this");
        failing.map_or(Ok(()), |kind| Err(kind.into()))
    }
}
