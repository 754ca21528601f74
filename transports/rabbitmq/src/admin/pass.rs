//! One look through a queue of RabbitMQ.

use std::{collections::BTreeSet, fmt, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions,
        BasicQosOptions,
    },
    types::{FieldTable, ShortString},
};
use longhaul_core::{
    address::Address,
    admin::{Found, Pass, Place},
    transport::TransportError,
};
use tokio::time::Instant;

use crate::{
    declare::Declarer,
    fault::{Fault, within},
    link::Link,
    properties,
    timing::Timing,
};

/// How many bytes of bodies one page may have, going by the largest one so far.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// The first page, when nothing is known of the size of the bodies.
const FIRST_PAGE: usize = 16;
/// How long a page waits for one more message before it asks whether there is any.
const QUIET: Duration = Duration::from_millis(250);
/// How often it is looked whether everything is back.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How many times something is given back before the queue must have it: of 32 and more the broker loses the order.
const AHEAD: u32 = 16;
/// How many acknowledgements go out before the broker is asked whether it has read them.
const ACKS: usize = 512;

/// How often the broker is asked for a message before the channel is closed. A quorum queue's side of a channel keeps back
/// what is settled faster than the queue takes it, and forgets that when the channel closes. To ask for a message waits for the
/// queue itself: the first time for what had been sent to it, the second time for what was kept back until then.
const FLUSHES: u32 = 3;
/// What is given back in one go keeps its order up to this many; beyond, the broker's own map of them has another one.
const KEPT_IN_ORDER: usize = 32;

/// A look through one queue, on a connection of its own: when that ends, everything is back.
pub(super) struct RabbitPass {
    link: Link,
    channel: Channel,
    queue: Address,
    timing: Timing,
    expected: u64,
    /// How many of the expected ones are still to come.
    left: u64,
    /// The last delivery of each page.
    pages: Vec<u64>,
    /// Deliveries that were not taken out.
    held: BTreeSet<u64>,
    /// Whether anything was.
    removed: bool,
    largest: Option<usize>,
}

impl RabbitPass {
    pub(super) fn new(link: Link, channel: Channel, queue: Address, expected: u64, timing: Timing) -> Self {
        Self {
            link,
            channel,
            queue,
            timing,
            expected,
            left: expected,
            pages: Vec::new(),
            held: BTreeSet::new(),
            removed: false,
            largest: None,
        }
    }

    /// How many messages the next page may have.
    fn page(&self, limit: usize) -> u16 {
        let by_size = match self.largest {
            None => FIRST_PAGE,
            Some(largest) => PAGE_BYTES / largest.max(1),
        };
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        u16::try_from(limit.min(by_size).min(left).max(1)).unwrap_or(u16::MAX)
    }

    async fn take(&mut self, limit: usize) -> Result<Vec<Delivery>, Fault> {
        let most = self.page(limit);
        let mut page = self.consume(most).await?;
        if page.is_empty() {
            // The broker itself says whether there is none.
            page.extend(self.get().await?);
        }
        Ok(page)
    }

    /// Takes up to `most` with a consumer that may hold no more.
    async fn consume(&self, most: u16) -> Result<Vec<Delivery>, Fault> {
        let limit = self.timing.answer;
        let qos = self.channel.basic_qos(most, BasicQosOptions { global: false });
        within(limit, "a prefetch limit", qos).await?;
        let consume = self.channel.basic_consume(
            self.name(),
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut consumer = within(limit, "a consumer", consume).await?;
        let most = usize::from(most);
        let mut page = Vec::with_capacity(most);
        while page.len() < most {
            match tokio::time::timeout(QUIET, consumer.next()).await {
                Ok(Some(delivery)) => page.push(delivery?),
                Ok(None) => return Err(Fault::lost("the broker ended the consumer")),
                Err(_) => break,
            }
        }
        let tag = consumer.tag();
        let cancel = self.channel.basic_cancel(tag, BasicCancelOptions::default());
        within(limit, "cancelling a consumer", cancel).await?;
        let drained = drain(&mut consumer, &mut page);
        match tokio::time::timeout(limit, drained).await {
            Ok(drained) => drained?,
            Err(_) => return Err(Fault::timed_out("the end of a consumer", limit)),
        }
        Ok(page)
    }

    async fn get(&self) -> Result<Option<Delivery>, Fault> {
        let get = self.channel.basic_get(self.name(), BasicGetOptions::default());
        let got = within(self.timing.answer, "a message", get).await?;
        Ok(got.map(|got| got.delivery))
    }

    fn name(&self) -> ShortString {
        ShortString::try_new(self.queue.as_str()).unwrap_or_default()
    }

    /// Waits until the broker has read what was sent before.
    async fn barrier(&self) -> Result<(), Fault> {
        let harmless = self.channel.basic_qos(1, BasicQosOptions { global: false });
        within(self.timing.answer, "what was settled", harmless).await
    }

    async fn acknowledge(&mut self, places: &[Place]) -> Result<(), Fault> {
        for some in places.chunks(ACKS) {
            for Place(tag) in some {
                // The broker closes the channel on a number that it does not know.
                if !self.held.remove(tag) {
                    continue;
                }
                let ack = self.channel.basic_ack(*tag, BasicAckOptions { multiple: false });
                within(self.timing.answer, "an acknowledgement", ack).await?;
                self.removed = true;
            }
            self.barrier().await?;
        }
        Ok(())
    }

    /// Page by page and few at a time: the broker keeps the order only of what one consumer gives back, only of so many, and only
    /// while the queue keeps up.
    async fn put_back(&self) -> Result<(), Fault> {
        let mut declarer = Declarer::new(&self.link, &self.timing);
        let (before, _) = declarer.look_at(self.queue.as_str()).await?;
        let (mut back, mut ahead, mut first) = (u64::from(before), 0, 0);
        for end in &self.pages {
            let held: Vec<u64> = self.held.range(first..=*end).copied().collect();
            first = end.saturating_add(1);
            for some in held.chunks(KEPT_IN_ORDER) {
                let Some(last) = some.last() else { continue };
                let options = BasicNackOptions {
                    multiple: true,
                    requeue: true,
                };
                let nack = self.channel.basic_nack(*last, options);
                within(self.timing.answer, "giving back", nack).await?;
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

    /// Waits until the queue itself has settled what was taken out. A message that comes with it is given back with the others.
    async fn flush(&mut self) -> Result<(), Fault> {
        for _ in 0..if self.removed { FLUSHES } else { 0 } {
            if let Some(delivery) = self.get().await? {
                self.held.insert(delivery.delivery_tag);
                self.pages.push(delivery.delivery_tag);
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        self.flush().await?;
        self.put_back().await
    }

    fn lost(&self, fault: &Fault) -> TransportError {
        fault.while_doing(&format!("look through the queue `{}`", self.queue))
    }
}

/// What was on its way when the consumer was cancelled.
async fn drain(consumer: &mut Consumer, page: &mut Vec<Delivery>) -> Result<(), lapin::Error> {
    while let Some(delivery) = consumer.next().await {
        page.push(delivery?);
    }
    Ok(())
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
        let page = match self.take(limit.max(1)).await {
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
        self.held
            .extend(page.iter().map(|delivery| delivery.delivery_tag));
        self.pages
            .extend(page.iter().map(|delivery| delivery.delivery_tag).max());
        let largest = page.iter().map(|delivery| delivery.data.len()).max();
        self.largest = self.largest.max(largest);
        let found = page.into_iter().map(|delivery| {
            let place = Place(delivery.delivery_tag);
            let (incoming, redeliveries) =
                properties::incoming(delivery.properties, delivery.data, delivery.redelivered);
            Found {
                incoming,
                redeliveries,
                place,
            }
        });
        Ok(found.collect())
    }

    async fn remove(&mut self, places: &[Place]) -> Result<(), TransportError> {
        self.acknowledge(places).await.map_err(|fault| {
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
