//! What must be true in every state, and what at the end.

use std::fmt;

use crate::protocol::Protocol;
use crate::state::{MESSAGES, State};

/// A rule that holds in every state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// The effect of a message is applied to the record at most once.
    EffectOnce,
    /// Each version of the record follows from the one before.
    NoFork,
    /// No output leaves before the commit that it belongs to is durable.
    DurableBeforeSent,
    /// A message that is acknowledged is handled, and that is durable.
    DurableBeforeAcknowledged,
    /// A row that is marked sent is at the broker.
    MarkedIsAtBroker,
}

impl Invariant {
    const ALL: [Self; 5] = [
        Self::EffectOnce,
        Self::NoFork,
        Self::DurableBeforeSent,
        Self::DurableBeforeAcknowledged,
        Self::MarkedIsAtBroker,
    ];

    /// The first that does not hold.
    pub(crate) fn broken_in(protocol: &Protocol, state: &State) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|invariant| !invariant.holds(protocol, state))
    }

    fn holds(self, protocol: &Protocol, state: &State) -> bool {
        let State { visible, durable, .. } = state;
        match self {
            Self::EffectOnce => MESSAGES
                .into_iter()
                .all(|message| visible.chain.times(message) <= 1),
            Self::NoFork => {
                let links = visible.chain.links().iter();
                links.zip(0..).all(|(link, before)| link.read == before)
            }
            Self::DurableBeforeSent => state
                .at_broker
                .iter()
                .all(|row| durable.chain.times(row.message()) > 0),
            Self::DurableBeforeAcknowledged => state
                .acknowledged
                .iter()
                .all(|message| durable.inbox.contains(message) && durable.chain.times(message) > 0),
            Self::MarkedIsAtBroker => protocol.rows().all(|row| {
                let is_marked = visible.chain.times(row.message()) > 0 && !visible.rows.contains(row);
                !is_marked || state.at_broker.contains(row)
            }),
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EffectOnce => "the effect of a message was applied twice",
            Self::NoFork => "two versions of the record follow from the same one",
            Self::DurableBeforeSent => "an output left before its commit was durable",
            Self::DurableBeforeAcknowledged => {
                "a message was acknowledged, and what it caused is not durable"
            }
            Self::MarkedIsAtBroker => "a row is marked sent, and the broker never took it",
        })
    }
}

/// Whether all that should happen has happened: each effect once, each output at the broker, no row left.
pub(crate) fn is_complete(protocol: &Protocol, state: &State) -> bool {
    let durable = &state.durable;
    MESSAGES
        .into_iter()
        .all(|message| durable.chain.times(message) == 1)
        && protocol.rows().all(|row| state.at_broker.contains(row))
        && durable.rows.is_empty()
}
