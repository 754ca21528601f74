//! One look through a queue of RabbitMQ.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use lapin::{Channel, message::Delivery};
use longhaul_core::{
    address::Address,
    admin::{Found, Pass, Place},
    transport::TransportError,
};
use tokio::time::Instant;

use super::taking::{KEPT_IN_ORDER, Taking};
use crate::{declare::Declarer, fault::Fault, link::Link, properties, timing::Timing};

/// How often it is looked whether everything is back.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How many times something is given back before the queue must have it: of 32 and more the broker loses the order.
const AHEAD: u32 = 16;

/// A look through one queue, on a connection of its own: when that ends, everything is back.
pub(super) struct RabbitPass {
    link: Link,
    taking: Taking,
    queue: Address,
    timing: Timing,
    expected: u64,
    /// How many of the expected ones are still to come.
    left: u64,
}

impl RabbitPass {
    pub(super) fn new(link: Link, channel: Channel, queue: Address, expected: u64, timing: Timing) -> Self {
        Self {
            link,
            taking: Taking::new(channel, timing.answer),
            queue,
            timing,
            expected,
            left: expected,
        }
    }

    /// Asks a queue that is said to be empty itself, for the broker says so of one without a leader. What is in it then was there
    /// when the look began.
    pub(super) async fn make_sure(&mut self) -> Result<(), Fault> {
        let queue = self.queue.as_str();
        if self.expected > 0 || self.taking.ask(queue).await?.is_empty() {
            return Ok(());
        }
        let (ready, _) = Declarer::new(&self.link, &self.timing).look_at(queue).await?;
        self.expected = u64::from(ready) + 1;
        self.left = self.expected;
        self.put_back().await?;
        // It is back, and nothing is held.
        self.taking.forget();
        Ok(())
    }

    /// Page by page and few at a time: the broker keeps the order only of what one consumer gives back, only of so many, and only
    /// while the queue keeps up.
    async fn put_back(&self) -> Result<(), Fault> {
        let pages = self.taking.held_pages();
        if pages.is_empty() {
            return Ok(());
        }
        let mut declarer = Declarer::new(&self.link, &self.timing);
        let (before, consumers) = declarer.look_at(self.queue.as_str()).await?;
        // Where somebody else takes some meanwhile, it can't be known how many are back.
        let mut is_ours = self.taking.is_own(consumers);
        let (mut back, mut ahead) = (u64::from(before), 0);
        for some in pages.iter().flat_map(|page| page.chunks(KEPT_IN_ORDER)) {
            let Some(last) = some.last() else { continue };
            self.taking.give_back_to(*last).await?;
            back += u64::try_from(some.len()).unwrap_or(0);
            ahead += 1;
            if ahead == AHEAD {
                is_ours = is_ours && self.returned(&mut declarer, back).await?;
                ahead = 0;
            }
        }
        if is_ours {
            self.returned(&mut declarer, back).await?;
        }
        Ok(())
    }

    /// Waits until the queue has as many messages again; `false`: it had not in time.
    async fn returned(&self, declarer: &mut Declarer<'_>, back: u64) -> Result<bool, Fault> {
        let deadline = Instant::now() + self.timing.close;
        loop {
            let (ready, _) = declarer.look_at(self.queue.as_str()).await?;
            if u64::from(ready) >= back {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn page(&mut self, limit: usize) -> Result<Vec<Delivery>, Fault> {
        let queue = self.queue.as_str();
        if self.left == 0 {
            return Ok(Vec::new());
        }
        let page = self.taking.page(queue, limit, self.left).await?;
        let count = u64::try_from(page.len()).unwrap_or(u64::MAX);
        self.left = if count == 0 {
            0
        } else {
            self.left.saturating_sub(count)
        };
        Ok(page)
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        // A message that comes with it is given back with the others.
        self.taking.flush(self.queue.as_str()).await?;
        self.put_back().await
    }

    pub(super) fn lost(&self, fault: &Fault) -> TransportError {
        fault.while_doing(&format!("look through the queue `{}`", self.queue))
    }
}

#[async_trait]
impl Pass for RabbitPass {
    fn expected(&self) -> u64 {
        self.expected
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Found>, TransportError> {
        let page = match self.page(limit).await {
            Ok(page) => page,
            Err(fault) => {
                self.link.cut();
                return Err(self.lost(&fault));
            }
        };
        let found = page.into_iter().map(|delivery| {
            let place = Place(delivery.delivery_tag);
            let (incoming, redeliveries) =
                properties::incoming(delivery.properties, delivery.data, delivery.redelivered);
            Found {
                incoming,
                redeliveries,
                place,
                waits: None,
            }
        });
        Ok(found.collect())
    }

    async fn remove(&mut self, places: &[Place]) -> Result<(), TransportError> {
        self.taking.acknowledge(places).await.map_err(|fault| {
            self.link.cut();
            fault.while_doing(&format!("take messages out of the queue `{}`", self.queue))
        })
    }

    async fn close(mut self: Box<Self>) -> Result<(), TransportError> {
        let put_back = self.finish().await.map_err(|fault| self.lost(&fault));
        self.link.close().await;
        put_back
    }
}

impl fmt::Debug for RabbitPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitPass")
            .field("queue", &self.queue)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
