//! One connection to publish on, and what is known to exist on its broker.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use longhaul_core::transport::TransportErrorKind;
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
    /// Delayed messages came back: bindings of the levels are missing.
    levels_lost: bool,
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
    /// The delay levels can't be created.
    Error(TransportErrorKind, String),
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
            levels_lost: false,
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
                Err(obstacle) => {
                    let stuck = matches!(&obstacle, Obstacle::Fault(fault) if !fault.is_lasting());
                    obstacles.insert(route, obstacle);
                    if stuck {
                        // Nothing else will get through either: the window fails at once, and its messages stay.
                        self.link.cut();
                        break;
                    }
                }
            }
        }
        obstacles
    }

    /// Publishes one window.
    ///
    /// The broker closes the channel on a message that it won't have: too large for it, or to where the user has no
    /// right to write. Then the window is published again one by one, so that one message can't keep the others back.
    pub(super) async fn send(&mut self, messages: &[&Outgoing]) -> (Vec<Verdict>, Option<Fault>) {
        if let Err(fault) = self.renew().await {
            return (vec![Verdict::Unknown; messages.len()], Some(fault));
        }
        let (verdicts, fault) = self.channel.send(messages, self.timing.confirm).await;
        self.remember(messages, &verdicts);
        match fault {
            Some(fault) if fault.is_refusal() => {
                tracing::warn!(
                    reason = fault.text,
                    "the broker refuses a message; sending one by one"
                );
                self.send_one_by_one(messages).await
            }
            fault => (verdicts, fault),
        }
    }

    async fn send_one_by_one(&mut self, messages: &[&Outgoing]) -> (Vec<Verdict>, Option<Fault>) {
        self.known.clear();
        let mut all = Vec::with_capacity(messages.len());
        for message in messages {
            if !self.channel.is_up()
                && let Err(fault) = self.reopen().await
            {
                all.resize(messages.len(), Verdict::Unknown);
                return (all, Some(fault));
            }
            let (verdicts, fault) = self.channel.send(&[message], self.timing.confirm).await;
            match fault {
                Some(fault) if fault.is_refusal() => all.push(Verdict::Refused(fault)),
                Some(fault) => {
                    all.resize(messages.len(), Verdict::Unknown);
                    return (all, Some(fault));
                }
                None => all.extend(verdicts),
            }
        }
        if !self.channel.is_up()
            && let Err(fault) = self.reopen().await
        {
            return (all, Some(fault));
        }
        (all, None)
    }

    /// Draws conclusions from what became of messages.
    fn remember(&mut self, messages: &[&Outgoing], verdicts: &[Verdict]) {
        self.refused |= verdicts.contains(&Verdict::Nacked);
        let lost = |(message, verdict): (&&Outgoing, &Verdict)| {
            *verdict == Verdict::Returned && matches!(message.to, Route::Delayed { .. })
        };
        if messages.iter().zip(verdicts).any(lost) {
            self.levels_lost = true;
            self.known.clear();
        }
    }

    async fn reopen(&mut self) -> Result<(), Fault> {
        self.channel = PublishChannel::open(&self.link, self.timing.answer).await?;
        self.opened = Instant::now();
        self.refused = false;
        Ok(())
    }

    /// A channel that had messages refused gets a successor after a while.
    ///
    /// A channel of RabbitMQ remembers who leads a quorum queue. One that was opened in the moment in which the
    /// leader's node died asks the dead node for ever, and refuses everything for that queue.
    async fn renew(&mut self) -> Result<(), Fault> {
        if self.refused && self.opened.elapsed() >= REFUSED_LONG_ENOUGH {
            return self.reopen().await;
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
        &mut self,
        level: &str,
        address: &str,
        delays: &DelayTopology,
        create: bool,
    ) -> Result<(), Obstacle> {
        let mut declarer = Declarer::new(&self.link, &self.timing);
        let level = exchange(level, ExchangeKind::Topic);
        let there = declarer.exchange(&level, false).await;
        let missing = matches!(&there, Err(fault) if fault.kind == FaultKind::NotFound);
        if create && (missing || self.levels_lost) {
            let created = declarer.create(&delays.plan()).await;
            created.map_err(|error| Obstacle::Error(error.kind(), error.to_string()))?;
            self.levels_lost = false;
        } else {
            there.map_err(Obstacle::Fault)?;
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
