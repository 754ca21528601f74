//! Where a process stands, and whether its endpoint's task still moves.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use longhaul_core::endpoint::Monitor;
use longhaul_core::recoverability::BreakerState;
use longhaul_core::transport::Health;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Where the process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits to be resumed.
    Paused,
    /// It opens the store and prepares the broker.
    Starting,
    /// It handles messages.
    Running,
    /// It was asked to stop, and finishes what it has begun.
    Stopping,
}

impl Phase {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
        }
    }
}

/// What health goes by.
#[derive(Debug)]
pub(crate) struct State {
    phase: watch::Sender<Phase>,
    pulse: Mutex<Instant>,
    stuck_after: Duration,
    monitor: Mutex<Option<Monitor>>,
    pub(crate) resumed: Notify,
}

impl State {
    pub(crate) fn new(stuck_after: Duration) -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            pulse: Mutex::new(Instant::now()),
            stuck_after,
            monitor: Mutex::new(None),
            resumed: Notify::new(),
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn watch(&self, monitor: Monitor) {
        *self.monitor.lock().unwrap_or_else(PoisonError::into_inner) = Some(monitor);
    }

    pub(crate) fn monitor(&self) -> Option<Monitor> {
        self.monitor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The endpoint's task was polled.
    pub(crate) fn beat(&self) {
        *self.pulse.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether the process does what it should, or why it does not: a supervisor ends one that does not.
    pub(crate) fn live(&self) -> Result<&'static str, String> {
        let silent = self
            .pulse
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed();
        if silent > self.stuck_after {
            let seconds = silent.as_secs();
            return Err(format!(
                "the endpoint's task has not moved for {seconds} s: something in it blocks or computes for long"
            ));
        }
        Ok(self.phase().as_str())
    }

    /// Whether it handles messages, or why it does not.
    pub(crate) fn ready(&self) -> Result<&'static str, String> {
        self.live()?;
        let phase = self.phase();
        if phase != Phase::Running {
            return Err(phase.as_str().to_owned());
        }
        let Some(monitor) = self.monitor() else {
            return Err(Phase::Starting.as_str().to_owned());
        };
        match &*monitor.transport_health().borrow() {
            Health::Connected => {}
            other => return Err(format!("the broker: {other:?}")),
        }
        match monitor.breakers().borrow().endpoint {
            BreakerState::Closed => Ok(phase.as_str()),
            BreakerState::Open { .. } | BreakerState::Probing => Err(String::from(
                "the endpoint's circuit breaker is open: its store fails, or its messages do one after the other",
            )),
        }
    }
}
