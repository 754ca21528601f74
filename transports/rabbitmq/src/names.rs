//! The names and arguments of an endpoint's own objects on the broker, as data.

use longhaul_core::{
    address::Address,
    transport::{Subscription, Topology},
};

use crate::{
    delay::DelayTopology,
    plan::{
        Argument, Arguments, Binding, Exchange, ExchangeKind, Plan, Queue, bind_queue, exchange,
        quorum_queue, text,
    },
};

/// How often a message may come back before RabbitMQ takes it away. From version 4.0 the default is 20, and messages
/// that were only prefetched by a process that crashed count too; this number is accepted by all versions and is never
/// reached.
const DELIVERY_LIMIT: i64 = 4_000_000_000;

/// Names that start alike, so that several systems can share a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// The exchange that an event is published to; its subscribers' queues are bound to it.
    pub(crate) fn event_exchange(&self, event: &str) -> String {
        format!("{}.event.{event}", self.prefix)
    }

    /// Exchange and queue of what the broker takes away from a queue, by the same name. Nothing should ever be there.
    pub(crate) fn dead_letters(&self) -> String {
        format!("{}.dead-letter", self.prefix)
    }

    /// An exclusive queue that an operator has while looking through another one.
    pub(crate) fn operator_of(&self, queue: &str) -> String {
        format!("{}.operator.{queue}", self.prefix)
    }

    /// Everything that an endpoint needs, without the delay levels themselves.
    pub(crate) fn plan(&self, topology: &Topology, delays: &DelayTopology) -> Plan {
        let mut plan = Plan {
            exchanges: vec![exchange(self.dead_letters(), ExchangeKind::Fanout)],
            queues: vec![quorum_queue(self.dead_letters(), kept_for_good())],
            bindings: vec![bind_queue(self.dead_letters(), self.dead_letters(), "")],
        };
        plan.exchanges.extend(
            topology
                .subscriptions
                .iter()
                .map(|one| self.exchange_of(&one.event)),
        );
        plan.queues
            .extend(topology.queues.iter().map(|queue| self.input_queue(queue)));
        plan.queues.extend(topology.error_queues.iter().map(error_queue));
        plan.bindings
            .extend(topology.subscriptions.iter().map(|one| self.binding(one)));
        if topology.delays {
            let addresses = topology.queues.iter().chain(&topology.error_queues);
            plan.bindings
                .extend(addresses.map(|queue| delays.destination_binding(queue.as_str())));
        }
        plan.exchanges.dedup();
        plan
    }

    /// The exchange of an event.
    pub(crate) fn exchange_of(&self, event: &str) -> Exchange {
        exchange(self.event_exchange(event), ExchangeKind::Fanout)
    }

    /// The binding of a subscription.
    pub(crate) fn binding(&self, subscription: &Subscription) -> Binding {
        bind_queue(
            subscription.queue.as_str(),
            self.event_exchange(&subscription.event),
            "",
        )
    }

    /// A queue that an endpoint consumes.
    fn input_queue(&self, queue: &Address) -> Queue {
        quorum_queue(
            queue.as_str(),
            vec![
                ("x-delivery-limit", Argument::Integer(DELIVERY_LIMIT)),
                ("x-dead-letter-exchange", text(self.dead_letters())),
                ("x-dead-letter-strategy", text("at-least-once")),
                ("x-overflow", text("reject-publish")),
            ],
        )
    }
}

/// A queue for what failed: browsing it puts messages back, which counts as deliveries too.
pub(crate) fn error_queue(queue: &Address) -> Queue {
    quorum_queue(queue.as_str(), kept_for_good())
}

fn kept_for_good() -> Arguments {
    vec![("x-delivery-limit", Argument::Integer(DELIVERY_LIMIT))]
}
