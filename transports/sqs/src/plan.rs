//! What is to exist at AWS, as plain data to be read before anything is made, and the rights that it takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    inner::Events,
    names::Names,
    timing::{Timing, seconds_up},
    waiting,
};
use longhaul_core::{
    address::Address,
    transport::{Topology, TransportError, TransportErrorKind},
};

/// The longest retention of SQS, in seconds: 14 days.
pub(crate) const RETENTION_SECONDS: u64 = 14 * 24 * 3600;

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// An endpoint consumes it.
    Input,
    /// It keeps what failed.
    Errors,
    /// Messages with delays over 900 s go round in it.
    Delays,
    /// It stands beside a FIFO queue and takes what that one can't: delayed messages and events. Its endpoint moves them on.
    Inlet,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name at SQS.
    pub name: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Attributes that it is created with.
    pub attributes: BTreeMap<String, String>,
}

/// A queue that gets the messages of a topic, as they are (raw delivery).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subscription {
    /// The name of the topic.
    pub topic: String,
    /// The name of the queue.
    pub queue: String,
}

/// A bucket with a rule that removes bodies by age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bodies {
    /// The name of the bucket, which must exist.
    pub bucket: String,
    /// What the keys of all bodies begin with.
    pub prefix: String,
    /// How long a body stays after it was last kept.
    pub days: u16,
}

/// What an endpoint needs at AWS. Printed, it is a list for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Queues to make.
    pub queues: Vec<Queue>,
    /// Topics to make, and who subscribes.
    pub subscriptions: Vec<Subscription>,
    /// Subscriptions to remove.
    pub retired: Vec<Subscription>,
    /// Queues of others to send to.
    pub sends_to: BTreeSet<String>,
    /// Queues that must not be there: standard ones beside FIFO queues of the same endpoints, and the other way round.
    /// Messages would stay in them.
    pub instead_of: BTreeSet<String>,
    /// Topics of its own events.
    pub publishes: BTreeSet<String>,
    /// Where bodies are kept that are too large to travel.
    pub bodies: Option<Bodies>,
    names: Option<Names>,
    long_delays: bool,
    pub(crate) region: String,
}

impl Plan {
    pub(crate) fn new(
        names: &Names,
        region: &str,
        timing: &Timing,
        events: &Events,
        long_delays: bool,
        topology: &Topology,
    ) -> Result<Self, TransportError> {
        let mut plan = Self {
            names: Some(names.clone()),
            region: region.to_owned(),
            ..Self::default()
        };
        plan.add_queues(names, timing, long_delays, topology)?;
        plan.long_delays = long_delays;
        if *events == Events::Topics {
            for (from, to) in [
                (&topology.subscriptions, &mut plan.subscriptions),
                (&topology.retired, &mut plan.retired),
            ] {
                for one in from {
                    let queue = match names.is_ordered(&one.queue) {
                        // A topic can't send to a FIFO queue.
                        true => names.inlet(&one.queue)?,
                        false => names.queue(&one.queue)?,
                    };
                    to.push(Subscription {
                        topic: names.topic(&one.event)?,
                        queue,
                    });
                }
                to.sort();
                to.dedup();
            }
        }
        if let Events::ByPublisher(subscribers) = events {
            for queue in subscribers.values().flatten() {
                plan.sends_to.insert(names.queue(queue)?);
            }
        }
        Ok(plan)
    }

    fn add_queues(
        &mut self,
        names: &Names,
        timing: &Timing,
        long_delays: bool,
        topology: &Topology,
    ) -> Result<(), TransportError> {
        let attributes = BTreeMap::from([
            ("MessageRetentionPeriod".to_owned(), RETENTION_SECONDS.to_string()),
            (
                "VisibilityTimeout".to_owned(),
                seconds_up(timing.lease).to_string(),
            ),
        ]);
        let queues = &mut self.queues;
        let mut add = |name: String, purpose, attributes| {
            if !queues.iter().any(|queue| queue.name == name) {
                queues.push(Queue {
                    name,
                    purpose,
                    attributes,
                });
            }
        };
        for address in &topology.queues {
            let mut own = attributes.clone();
            if names.is_ordered(address) {
                own.extend(fifo());
            }
            add(names.queue(address)?, Purpose::Input, own);
        }
        for address in &topology.error_queues {
            if names.is_ordered(address) {
                return Err(TransportError::new(
                    TransportErrorKind::Configuration,
                    format!(
                        "use `{address}` for what failed: nothing is handled from it in order; take it out of \
                         SqsBuilder::ordered"
                    ),
                ));
            }
            add(names.queue(address)?, Purpose::Errors, attributes.clone());
        }
        for address in &topology.queues {
            self.instead_of.extend(names.instead_of(address)?);
            if names.is_ordered(address) {
                add(names.inlet(address)?, Purpose::Inlet, attributes.clone());
            } else if long_delays && topology.delays {
                add(
                    names.delays(address)?,
                    Purpose::Delays,
                    waiting::attributes(timing),
                );
            }
        }
        Ok(())
    }

    /// Adds the queues that the endpoint sends commands and replies to, for the [policy](Plan::policy).
    ///
    /// # Errors
    ///
    /// A name that SQS can't hold.
    pub fn sending_to<'a>(
        mut self,
        queues: impl IntoIterator<Item = &'a Address>,
    ) -> Result<Self, TransportError> {
        if let Some(names) = &self.names {
            for queue in queues {
                self.sends_to.insert(names.queue(queue)?);
                if names.is_ordered(queue) {
                    self.sends_to.insert(names.inlet(queue)?);
                } else if self.long_delays {
                    self.sends_to.insert(names.delays(queue)?);
                }
            }
        }
        Ok(self)
    }

    /// Adds the bucket for bodies that are too large to travel.
    #[must_use]
    pub fn keeping(mut self, bodies: Bodies) -> Self {
        self.bodies = Some(bodies);
        self
    }

    /// Adds the events that the endpoint publishes, for the [policy](Plan::policy).
    ///
    /// # Errors
    ///
    /// A name that SNS can't hold.
    pub fn publishing<'a>(
        mut self,
        events: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, TransportError> {
        if let Some(names) = &self.names {
            for event in events {
                self.publishes.insert(names.topic(event)?);
            }
        }
        Ok(self)
    }
}

/// What makes a queue keep the order of messages: in groups, of which each has its own limit.
fn fifo() -> [(String, String); 4] {
    [
        ("FifoQueue", "true"),
        // The bodies of two messages may be alike.
        ("ContentBasedDeduplication", "false"),
        ("DeduplicationScope", "messageGroup"),
        ("FifoThroughputLimit", "perMessageGroupId"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for queue in &self.queues {
            let what = match queue.purpose {
                Purpose::Input => "input",
                Purpose::Errors => "errors",
                Purpose::Delays => "long delays",
                Purpose::Inlet => "delayed messages and events, which the endpoint moves on",
            };
            let attributes: Vec<String> = queue
                .attributes
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            writeln!(f, "queue {} ({what}; {})", queue.name, attributes.join(", "))?;
        }
        for one in &self.subscriptions {
            writeln!(f, "topic {} with the queue {} subscribed", one.topic, one.queue)?;
        }
        let subscribing: BTreeSet<&String> = self.subscriptions.iter().map(|one| &one.queue).collect();
        for queue in subscribing {
            writeln!(
                f,
                "policy on the queue {queue}: topics of this prefix may send to it"
            )?;
        }
        if let Some(Bodies { bucket, prefix, days }) = &self.bodies {
            writeln!(
                f,
                "rule on the bucket {bucket}: what is below `{prefix}` is removed after {days} days"
            )?;
        }
        for one in &self.retired {
            writeln!(
                f,
                "no subscription of the queue {} to the topic {}",
                one.queue, one.topic
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use longhaul_core::transport::Subscription as Wanted;

    use super::*;

    pub(crate) fn address(name: &str) -> Address {
        Address::new(name).unwrap()
    }

    pub(crate) fn plan() -> Plan {
        planned(false)
    }

    pub(crate) fn planned(long_delays: bool) -> Plan {
        planned_for(&Names::new("prod-").unwrap(), long_delays).unwrap()
    }

    /// In which these endpoints get their messages in order.
    pub(crate) fn ordered(addresses: &[&str]) -> Result<Plan, TransportError> {
        let all = addresses.iter().map(|name| address(name)).collect();
        planned_for(&Names::new("prod-")?.ordered(all)?, true)
    }

    fn planned_for(names: &Names, long_delays: bool) -> Result<Plan, TransportError> {
        let wanted = |event: &str| Wanted {
            event: event.to_owned(),
            queue: address("sales"),
        };
        let topology = Topology {
            queues: vec![address("sales")],
            error_queues: vec![address("error")],
            subscriptions: vec![wanted("billing.paid.v1"), wanted("billing.paid.v1")],
            retired: vec![wanted("old")],
            delays: true,
        };
        let timing = Timing::default();
        Plan::new(
            names,
            "eu-west-1",
            &timing,
            &Events::Topics,
            long_delays,
            &topology,
        )
    }

    #[test]
    fn when_a_plan_is_printed_people_can_read_what_will_be_made() {
        let expected = "\
queue prod-sales (input; MessageRetentionPeriod=1209600, VisibilityTimeout=30)
queue prod-error (errors; MessageRetentionPeriod=1209600, VisibilityTimeout=30)
topic prod-billing__paid__v1 with the queue prod-sales subscribed
policy on the queue prod-sales: topics of this prefix may send to it
no subscription of the queue prod-sales to the topic prod-old
";
        assert_eq!(plan().to_string(), expected);
    }

    #[test]
    fn when_delays_may_be_long_each_input_queue_has_one_beside_it_that_delays_by_itself() {
        let queue = "queue prod-sales-delay.fifo (long delays; DeduplicationScope=messageGroup, DelaySeconds=900, \
                     FifoQueue=true, FifoThroughputLimit=perMessageGroupId, MessageRetentionPeriod=1209600, \
                     VisibilityTimeout=30)\n";
        let plan = planned(true);
        assert!(plan.to_string().contains(queue), "{plan}");
        let plan = plan.sending_to([&address("billing")]).unwrap();
        assert!(plan.sends_to.contains("prod-billing-delay.fifo"));
    }

    #[test]
    fn when_an_endpoint_keeps_order_its_queue_is_fifo_and_an_inlet_takes_events_and_delayed_messages() {
        let expected = "\
queue prod-sales.fifo (input; ContentBasedDeduplication=false, DeduplicationScope=messageGroup, FifoQueue=true, \
             FifoThroughputLimit=perMessageGroupId, MessageRetentionPeriod=1209600, VisibilityTimeout=30)
queue prod-error (errors; MessageRetentionPeriod=1209600, VisibilityTimeout=30)
queue prod-sales_inlet (delayed messages and events, which the endpoint moves on; MessageRetentionPeriod=1209600, \
             VisibilityTimeout=30)
topic prod-billing__paid__v1 with the queue prod-sales_inlet subscribed
policy on the queue prod-sales_inlet: topics of this prefix may send to it
no subscription of the queue prod-sales_inlet to the topic prod-old
";
        let plan = ordered(&["sales", "billing"]).unwrap();
        assert_eq!(plan.to_string(), expected);
        let instead_of: Vec<&str> = plan.instead_of.iter().map(String::as_str).collect();
        assert_eq!(instead_of, ["prod-sales", "prod-sales-delay.fifo"]);
        let plan = plan.sending_to([&address("billing"), &address("shop")]).unwrap();
        let sends_to: Vec<&str> = plan.sends_to.iter().map(String::as_str).collect();
        let shop = ["prod-shop", "prod-shop-delay.fifo"];
        assert_eq!(
            sends_to,
            [&["prod-billing.fifo", "prod-billing_inlet"], &shop[..]].concat()
        );
    }

    #[test]
    fn when_the_error_queue_is_to_keep_order_that_is_refused() {
        let error = ordered(&["error"]).unwrap_err();
        assert_eq!(error.kind(), TransportErrorKind::Configuration);
        assert!(error.to_string().contains("SqsBuilder::ordered"), "{error}");
    }
}
