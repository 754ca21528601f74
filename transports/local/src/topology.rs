//! Creating and checking queues and subscriptions.

use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::transport::{Report, Subscription, Topology, TransportError, TransportErrorKind};

use crate::journal::Write;
use crate::state::State;
use crate::{keys, stored};

/// The longest name of an event, in bytes.
const MAX_EVENT_BYTES: usize = 512;

/// Creates what is missing and removes what is retired.
pub(crate) fn declare(state: &mut State, topology: &Topology) -> Result<Report, TransportError> {
    for subscription in &topology.subscriptions {
        check_subscription(state, topology, subscription)?;
    }
    let mut report = Report::default();
    for queue in topology.queues.iter().chain(&topology.error_queues) {
        state.create(queue);
        report.present.push(present_queue(queue.as_str()));
    }
    for Subscription { event, queue } in &topology.retired {
        if let Some(queues) = state.subscriptions.get_mut(event) {
            queues.remove(queue);
            if queues.is_empty() {
                state.subscriptions.remove(event);
            }
        }
    }
    for subscription in &topology.subscriptions {
        let queues = state.subscriptions.entry(subscription.event.clone()).or_default();
        queues.insert(subscription.queue.clone());
        report.present.push(present_subscription(subscription));
    }
    Ok(report)
}

/// What is to be stored and removed for what [`declare`] did.
pub(crate) fn writes(topology: &Topology) -> Vec<Write> {
    // Nothing but the version is kept of these so far.
    let present = Bytes::from(stored::encode(&()));
    let queues = topology.queues.iter().chain(&topology.error_queues);
    let queues = queues.map(|queue| (keys::queue(queue).into(), Some(present.clone())));
    let retired = topology
        .retired
        .iter()
        .map(|retired| (keys::subscription(retired).into(), None));
    let wanted = topology.subscriptions.iter();
    let wanted = wanted.map(|wanted| (keys::subscription(wanted).into(), Some(present.clone())));
    queues.chain(retired).chain(wanted).collect()
}

/// What is to be removed of a deleted queue that was subscribed to `events`.
pub(crate) fn removal(queue: &Address, events: Vec<String>) -> Vec<Write> {
    let subscriptions = events.into_iter().map(|event| {
        let queue = queue.clone();
        (keys::subscription(&Subscription { event, queue }).into(), None)
    });
    subscriptions.chain([(keys::queue(queue).into(), None)]).collect()
}

/// Checks, and changes nothing.
pub(crate) fn verify(state: &State, topology: &Topology) -> Result<Report, TransportError> {
    let mut report = Report::default();
    let mut missing = Vec::new();
    for queue in topology.queues.iter().chain(&topology.error_queues) {
        if state.queues.contains_key(queue) {
            report.present.push(present_queue(queue.as_str()));
        } else {
            missing.push(present_queue(queue.as_str()));
        }
    }
    for subscription in &topology.subscriptions {
        if is_subscribed(state, subscription) {
            report.present.push(present_subscription(subscription));
        } else {
            missing.push(present_subscription(subscription));
        }
    }
    for retired in topology
        .retired
        .iter()
        .filter(|retired| is_subscribed(state, retired))
    {
        let left = present_subscription(retired);
        report
            .unverified
            .push(format!("{left}, which is retired, is still there"));
    }
    if missing.is_empty() {
        return Ok(report);
    }
    Err(TransportError::new(
        TransportErrorKind::Topology,
        format!(
            "verify the topology: missing: {}; prepare it with `Declare::Declare`",
            missing.join(", ")
        ),
    ))
}

fn check_subscription(
    state: &State,
    topology: &Topology,
    subscription: &Subscription,
) -> Result<(), TransportError> {
    let error = |why: &str| {
        let what = present_subscription(subscription);
        Err(TransportError::new(
            TransportErrorKind::Topology,
            format!("prepare {what}: {why}"),
        ))
    };
    if subscription.event.len() > MAX_EVENT_BYTES {
        return error("the event's name is over 512 bytes; shorten it");
    }
    let mut named = topology.queues.iter().chain(&topology.error_queues);
    if !named.any(|queue| *queue == subscription.queue) && !state.queues.contains_key(&subscription.queue) {
        return error("there is no such queue; name it in the topology too");
    }
    Ok(())
}

fn is_subscribed(state: &State, subscription: &Subscription) -> bool {
    let queues = state.subscriptions.get(&subscription.event);
    queues.is_some_and(|queues| queues.contains(&subscription.queue))
}

fn present_queue(queue: &str) -> String {
    format!("queue {queue:?}")
}

fn present_subscription(subscription: &Subscription) -> String {
    format!(
        "subscription of {:?} to {:?}",
        subscription.queue, subscription.event
    )
}
