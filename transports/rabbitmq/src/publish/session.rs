//! One connection to publish on, and what is known to exist on its broker.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Outgoing, Route,
    window::{PublishChannel, Verdict},
};
use crate::{
    declare::Declarer,
    delay::DelayTopology,
    fault::{Fault, FaultKind},
    link::{Link, LinkState, Target},
    plan::{ExchangeKind, exchange},
    timing::Timing,
};

/// How much is remembered about the broker before it is asked again.
const MOST_KNOWN: usize = 10_000;
/// How long a channel is kept on which messages are refused.
const REFUSED_LONG_ENOUGH: Duration = Duration::from_secs(1);

/// A connection, its publish channel, and what was seen to exist.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) link: Link,
    channel: PublishChannel,
    timing: Timing,
    /// Exchanges that are there, and addresses that are bound for delays.
    known: HashSet<String>,
    /// The channel holds messages whose outcome is unknown.
    given_up: bool,
    /// Since when the channel is in use, and whether it had messages refused.
    opened: Instant,
    refused: bool,
}

/// Why a message can't be published at all.
#[derive(Clone, Debug)]
pub(super) enum Obstacle {
    /// The queue for a delayed message is not there.
    NoQueue,
    /// The event's exchange is not there, so nobody can have subscribed.
    NoSubscribers,
    /// The broker said no, or something is missing that only an operator can mend.
    Fault(Fault),
}

impl Session {
    pub(super) async fn open(target: &Target, first: usize) -> Result<Self, Fault> {
        let link = Link::open(target, "publish", first).await?;
        let channel = PublishChannel::open(&link, target.timing.answer).await?;
        Ok(Self {
            link,
            channel,
            timing: target.timing.clone(),
            known: HashSet::new(),
            given_up: false,
            opened: Instant::now(),
            refused: false,
        })
    }

    /// Whether it can be published on, now or once the broker unblocks it.
    pub(super) fn is_up(&self) -> bool {
        self.link.is_up() && (self.is_blocked() || (!self.given_up && self.channel.is_up()))
    }

    /// Whether the broker takes nothing on this connection for now.
    pub(super) fn is_blocked(&self) -> bool {
        matches!(*self.link.state().borrow(), LinkState::Blocked(_))
    }

    /// Nothing more is published on it. While it is blocked the connection stays, though: only on a connection that
    /// has published does the broker say when the alarm is over.
    pub(super) fn give_up_channel(&mut self) {
        self.given_up = true;
    }

    /// Makes sure, once per connection and name, that what the messages go through exists: publishing to an exchange
    /// that is not there closes the channel and leaves the whole window unknown.
    pub(super) async fn prepare<'m>(
        &mut self,
        routes: impl Iterator<Item = &'m Route>,
        delays: &DelayTopology,
        create: bool,
    ) -> HashMap<&'m Route, Obstacle> {
        let mut obstacles = HashMap::new();
        for route in routes {
            let name = match route {
                Route::Queue(_) => continue,
                Route::Event(exchange) => exchange.clone(),
                Route::Delayed { address, .. } => format!("delayed {address}"),
            };
            if self.known.contains(&name) || obstacles.contains_key(route) {
                continue;
            }
            let done = match route {
                Route::Event(exchange) => self.event_exchange(exchange, create).await,
                Route::Delayed {
                    exchange, address, ..
                } => self.delayed(exchange, address, delays, create).await,
                Route::Queue(_) => Ok(()),
            };
            match done {
                Ok(()) => {
                    if self.known.len() >= MOST_KNOWN {
                        self.known.clear();
                    }
                    self.known.insert(name);
                }
                Err(obstacle) => drop(obstacles.insert(route, obstacle)),
            }
        }
        obstacles
    }

    /// Publishes one window.
    pub(super) async fn send(&mut self, messages: &[&Outgoing]) -> (Vec<Verdict>, Option<Fault>) {
        if let Err(fault) = self.renew().await {
            return (vec![Verdict::Unknown; messages.len()], Some(fault));
        }
        let (verdicts, fault) = self.channel.send(messages, self.timing.confirm).await;
        self.refused |= verdicts.contains(&Verdict::Nacked);
        // Something that was seen is gone again.
        let missing = |(message, verdict): (&&Outgoing, &Verdict)| {
            *verdict == Verdict::Returned && matches!(message.to, Route::Delayed { .. })
        };
        if messages.iter().zip(&verdicts).any(missing) {
            self.known.retain(|name| !name.starts_with("delayed "));
        }
        (verdicts, fault)
    }

    /// A channel that had messages refused gets a successor after a while.
    ///
    /// A channel of RabbitMQ remembers who leads a quorum queue. One that was opened in the moment in which the
    /// leader's node died asks the dead node for ever, and refuses everything for that queue.
    async fn renew(&mut self) -> Result<(), Fault> {
        if self.refused && self.opened.elapsed() >= REFUSED_LONG_ENOUGH {
            self.channel = PublishChannel::open(&self.link, self.timing.answer).await?;
            self.opened = Instant::now();
            self.refused = false;
        }
        Ok(())
    }

    async fn event_exchange(&self, name: &str, create: bool) -> Result<(), Obstacle> {
        let mut declarer = Declarer::new(&self.link, &self.timing);
        let exchange = exchange(name, ExchangeKind::Fanout);
        match declarer.exchange(&exchange, create).await {
            Ok(()) => Ok(()),
            Err(fault) if fault.kind == FaultKind::NotFound => Err(Obstacle::NoSubscribers),
            // Without the right to declare it can still be there.
            Err(fault) if create && fault.kind == FaultKind::Denied => declarer
                .exchange(&exchange, false)
                .await
                .map_err(|_| Obstacle::Fault(fault)),
            Err(fault) => Err(Obstacle::Fault(fault)),
        }
    }

    async fn delayed(
        &self,
        level: &str,
        address: &str,
        delays: &DelayTopology,
        create: bool,
    ) -> Result<(), Obstacle> {
        let mut declarer = Declarer::new(&self.link, &self.timing);
        let level = exchange(level, ExchangeKind::Topic);
        match declarer.exchange(&level, false).await {
            Ok(()) => {}
            Err(fault) if create && fault.kind == FaultKind::NotFound => {
                let created = declarer.create(&delays.plan()).await;
                created.map_err(|error| {
                    Obstacle::Fault(Fault {
                        text: error.to_string(),
                        ..fault
                    })
                })?;
            }
            Err(fault) => return Err(Obstacle::Fault(fault)),
        }
        match declarer.binding(&delays.destination_binding(address)).await {
            Ok(()) => Ok(()),
            Err(fault) if fault.kind == FaultKind::NotFound => Err(Obstacle::NoQueue),
            // Without the right to bind we rely on the queue's owner, who binds it too.
            Err(fault) if fault.kind == FaultKind::Denied => Ok(()),
            Err(fault) => Err(Obstacle::Fault(fault)),
        }
    }
}
