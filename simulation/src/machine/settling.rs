//! What happens once everything is at rest, or faults are over: the newest versions are deployed, and an operator replays or discards
//! what was refused.

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::Clock;
use longhaul_core::control::LetPass;
use longhaul_core::envelope::{Envelope, Intent};
use longhaul_core::headers::{self, Headers};
use longhaul_core::ids::derived_message_id;
use longhaul_core::message::Message;
use longhaul_core::reason::Reason;

use super::{Machine, Process};
use crate::trace::What;
use crate::world::Operator;

/// How long alarms of timeouts that are gone are waited for: in every fifth schedule, and in the others. Hours in which
/// nothing else happens are most of a schedule's cost.
const NEAR: [Duration; 2] = [Duration::from_secs(7200), Duration::from_secs(60)];
impl Machine<'_> {
    /// Faults are over, if they are not: nothing goes wrong any more, and the newest versions are deployed.
    pub(super) fn settle(&mut self) {
        if std::mem::replace(&mut self.is_settling, true) {
            return;
        }
        self.hub.world().chooser.end_faults();
        self.events.clear();
        for at in 0..self.processes.len() {
            let process = &mut self.processes[at];
            let endpoint = process
                .endpoint
                .and_then(|endpoint| self.setup.world.endpoints.get(endpoint));
            if endpoint.is_some_and(|endpoint| process.version != endpoint.newest())
                && let Some(stop) = process.stop.take()
            {
                // It may have ended already.
                stop.send(()).unwrap_or_default();
                let text = String::from("it is asked to stop: the newest version is deployed");
                let now = self.hub.clock.now();
                let mut state = self.hub.world();
                state.note(now, at, What::World(text));
                state.note(now, at, What::Disturbed { until: now });
            }
        }
    }

    /// Where there are several versions: whether the newest is not everywhere yet, or an operator has found something to
    /// replay.
    pub(super) fn has_more_to_settle(&mut self) -> bool {
        let newest = |process: &Process| {
            let endpoint = process
                .endpoint
                .and_then(|endpoint| self.setup.world.endpoints.get(endpoint));
            endpoint.is_none_or(|endpoint| process.version == endpoint.newest())
        };
        if !self.processes.iter().all(newest) {
            self.settle();
            return true;
        }
        let mut state = self.hub.world();
        let operator = self.setup.world.operator;
        let everything = operator != Operator::Idle;
        let unreadable = Reason::UnreadableState.as_str();
        let failed = state.broker.take_failed(|envelope| {
            (everything || envelope.headers.get(headers::ERROR_REASON) == Some(unreadable))
                && !self.answered.contains(&envelope.id)
        });
        drop(state);
        let is_discarded = |envelope: &Envelope| {
            let is_order = envelope.headers.get(headers::TYPE) == Some(LetPass::NAME);
            operator == Operator::Discards && !is_order
        };
        if !failed.iter().all(|envelope| is_discarded(envelope)) {
            // Whoever ends from now on must not start again as an older version, which would refuse the same again.
            self.settle();
        }
        let mut state = self.hub.world();
        let now = self.hub.clock.now();
        for envelope in &failed {
            let Some(queue) = source(envelope) else { continue };
            self.answered.insert(envelope.id.clone());
            let (sent, what) = if is_discarded(envelope) {
                let (queue, envelope) = (queue.clone(), Arc::clone(envelope));
                (Arc::new(let_pass(&envelope)), What::Discarded { queue, envelope })
            } else {
                let envelope = Arc::new(replay(envelope));
                let queue = queue.clone();
                (Arc::clone(&envelope), What::Replayed { queue, envelope })
            };
            state.broker.take(&queue, sent, now, now, false);
            state.plan(now);
            state.note(now, 0, what);
            state.note(now, 0, What::Disturbed { until: now });
        }
        !failed.is_empty()
    }

    /// How long alarms are waited for that mean nothing.
    pub(super) fn near(&self) -> Duration {
        // The lowest bit of the seed chooses the broker.
        NEAR[usize::from(!(self.setup.seed / 2).is_multiple_of(5))]
    }
}

/// The queue that a message in the error queue came from.
fn source(envelope: &Envelope) -> Option<Address> {
    Address::new(envelope.headers.get(headers::ERROR_SOURCE)?).ok()
}

/// Has an endpoint let pass what waits behind a message that was discarded.
fn let_pass(discarded: &Envelope) -> Envelope {
    let headers = Headers::from_iter([
        (headers::INTENT, Intent::Send.as_str()),
        (headers::TYPE, LetPass::NAME),
        (headers::CONTENT_TYPE, "application/json"),
    ]);
    let first = discarded.id.clone();
    let id = derived_message_id(&["let-pass", first.as_str()], 0);
    let body = serde_json::json!(LetPass { first }).to_string();
    Envelope::new(id, headers, body.into())
}

/// A message from the error queue as an operator sends it back.
fn replay(envelope: &Envelope) -> Envelope {
    let mut again = envelope.clone();
    let names = envelope.headers.iter().map(|(name, _)| name);
    let names = names.filter(|name| name.starts_with(headers::ERROR_PREFIX));
    for name in names {
        again.headers.remove(name);
    }
    // As the command does it: the replay of another failure is another copy.
    let failure = envelope.headers.get(headers::ERROR_LAST).unwrap_or("1");
    again.headers.set(headers::REPLAY, failure);
    again
}
