//! One look through a queue of RabbitMQ.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use lapin::Channel;
use longhaul_core::{
    address::Address,
    admin::{Found, Pass, Place},
    transport::TransportError,
};
use tokio::time::Instant;

use super::taking::Taking;
use crate::{declare::Declarer, fault::Fault, link::Link, properties, timing::Timing};

/// How often it is looked whether everything is back.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How many times something is given back before the queue must have it: of 32 and more the broker loses the order.
const AHEAD: u32 = 16;
/// What is given back in one go keeps its order up to this many; beyond, the broker's own map of them has another one.
pub(super) const KEPT_IN_ORDER: usize = 32;

/// A look through one queue, on a connection of its own: when that ends, everything is back.
pub(super) struct RabbitPass {
    link: Link,
    taking: Taking,
    queue: Address,
    timing: Timing,
    expected: u64,
    /// How many of the expected ones are still to come.
    left: u64,
    /// The last delivery of each page.
    pages: Vec<u64>,
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
            pages: Vec::new(),
        }
    }

    /// Page by page and few at a time: the broker keeps the order only of what one consumer gives back, only of so many, and only
    /// while the queue keeps up.
    async fn put_back(&self) -> Result<(), Fault> {
        let mut declarer = Declarer::new(&self.link, &self.timing);
        let (before, _) = declarer.look_at(self.queue.as_str()).await?;
        let (mut back, mut ahead, mut first) = (u64::from(before), 0, 0);
        for end in &self.pages {
            let held = self.taking.held_in(first..=*end);
            first = end.saturating_add(1);
            for some in held.chunks(KEPT_IN_ORDER) {
                let Some(last) = some.last() else { continue };
                self.taking.give_back_to(*last).await?;
                back += u64::try_from(some.len()).unwrap_or(0);
                ahead += 1;
                if ahead == AHEAD {
                    self.returned(&mut declarer, back).await?;
                    ahead = 0;
                }
            }
        }
        self.returned(&mut declarer, back).await
    }

    /// Waits until the queue has as many messages again. Where somebody else takes some meanwhile, that can't be known.
    async fn returned(&self, declarer: &mut Declarer<'_>, back: u64) -> Result<(), Fault> {
        let deadline = Instant::now() + self.timing.close;
        while Instant::now() < deadline {
            let (ready, consumers) = declarer.look_at(self.queue.as_str()).await?;
            if u64::from(ready) >= back || consumers > 0 {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        // A message that comes with it is given back with the others.
        for delivery in self.taking.flush(self.queue.as_str()).await? {
            self.pages.push(delivery.delivery_tag);
        }
        self.put_back().await
    }

    fn lost(&self, fault: &Fault) -> TransportError {
        fault.while_doing(&format!("look through the queue `{}`", self.queue))
    }
}

#[async_trait]
impl Pass for RabbitPass {
    fn expected(&self) -> u64 {
        self.expected
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Found>, TransportError> {
        if self.left == 0 {
            return Ok(Vec::new());
        }
        let page = match self.taking.page(self.queue.as_str(), limit, self.left).await {
            Ok(page) => page,
            Err(fault) => {
                self.link.cut();
                return Err(self.lost(&fault));
            }
        };
        let count = u64::try_from(page.len()).unwrap_or(u64::MAX);
        self.left = if count == 0 {
            0
        } else {
            self.left.saturating_sub(count)
        };
        self.pages
            .extend(page.iter().map(|delivery| delivery.delivery_tag).max());
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
