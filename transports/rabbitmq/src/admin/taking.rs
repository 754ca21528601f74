//! Taking messages page by page without acknowledging them, on one channel.

use std::{collections::BTreeSet, time::Duration};

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
use longhaul_core::admin::Place;
use tokio::time::Instant;

use super::{LEAVING, LOOK_AGAIN};
use crate::{
    declare::{barrier, look},
    fault::{Fault, within},
};

/// What is given back in one go keeps its order up to this many; beyond, the broker's own map of them has another one.
pub(super) const KEPT_IN_ORDER: usize = 32;

/// How many bytes of bodies one page may have, going by the largest one so far.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// The first page, when nothing is known of the size of the bodies.
const FIRST_PAGE: usize = 16;
/// The largest page, however small the bodies were: no more than twice the first, and what is given back in one go.
const MOST_OF_A_PAGE: usize = KEPT_IN_ORDER;
/// How long a page waits for one more message before it asks whether there is any.
const QUIET: Duration = Duration::from_millis(250);
/// How long a page waits for one more message after the queue has said that it has no more: the broker's node that hands them out may
/// be behind the one that says so.
const BEHIND: Duration = Duration::from_secs(1);
/// How many acknowledgements go out before the broker is asked whether it has read them.
const ACKS: usize = 512;

/// How often the broker is asked for a message before the channel is closed. A quorum queue's side of a channel keeps back
/// what is settled faster than the queue takes it, and forgets that when the channel closes. To ask for a message waits for the
/// queue itself: the first time for what had been sent to it, the second time for what was kept back until then.
const FLUSHES: u32 = 3;

/// What was taken on one channel, and what of it is not settled.
pub(super) struct Taking {
    channel: Channel,
    /// For the broker's answer to one request.
    limit: Duration,
    /// Deliveries that were neither taken out nor given back.
    held: BTreeSet<u64>,
    /// The last delivery of each page.
    pages: Vec<u64>,
    /// Whether anything was taken out since the last flush.
    removed: bool,
    largest: Option<usize>,
}

impl Taking {
    pub(super) fn new(channel: Channel, limit: Duration) -> Self {
        Self {
            channel,
            limit,
            held: BTreeSet::new(),
            pages: Vec::new(),
            removed: false,
            largest: None,
        }
    }

    /// The next messages of a queue, of which `left` are expected; at most `limit`, and fewer where they are large.
    pub(super) async fn page(
        &mut self,
        queue: &str,
        limit: usize,
        left: u64,
    ) -> Result<Vec<Delivery>, Fault> {
        let most = self.at_most(limit, left);
        let deadline = Instant::now() + LEAVING;
        loop {
            let page = self.consume(queue, most).await?;
            if !page.is_empty() {
                return Ok(self.taken(page));
            }
            // What comes too late for a consumer goes back to the queue, and the consumer is counted until then.
            let (ready, consumers) = look(&self.channel, queue, self.limit).await?;
            let is_through = ready == 0 && self.is_own(consumers);
            if is_through || Instant::now() >= deadline {
                return self.ask(queue).await;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Asks a queue that seems to be empty for a message: nobody but the queue itself can say that there is none.
    pub(super) async fn ask(&mut self, queue: &str) -> Result<Vec<Delivery>, Fault> {
        let page = self.get(queue).await?.into_iter().collect();
        Ok(self.taken(page))
    }

    fn taken(&mut self, page: Vec<Delivery>) -> Vec<Delivery> {
        let tags = page.iter().map(|delivery| delivery.delivery_tag);
        self.pages.extend(tags.clone().max());
        self.held.extend(tags);
        let largest = page.iter().map(|delivery| delivery.data.len()).max();
        self.largest = self.largest.max(largest);
        page
    }

    /// Whether a queue that has so many consumers may have none but those of the pages that are held: each page has one of its own,
    /// which is counted until all of the page is settled.
    pub(super) fn is_own(&self, consumers: u32) -> bool {
        usize::try_from(consumers).is_ok_and(|consumers| consumers <= self.held_pages().len())
    }

    fn at_most(&self, limit: usize, left: u64) -> u16 {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        page_of(self.largest, limit.min(left))
    }

    /// Takes up to `most` with a consumer that may hold no more.
    async fn consume(&self, queue: &str, most: u16) -> Result<Vec<Delivery>, Fault> {
        let qos = self.channel.basic_qos(most, BasicQosOptions { global: false });
        within(self.limit, "a prefetch limit", qos).await?;
        let consume = self.channel.basic_consume(
            name(queue),
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut consumer = within(self.limit, "a consumer", consume).await?;
        let most = usize::from(most);
        let mut page = Vec::with_capacity(most);
        fill(&mut consumer, &mut page, most, QUIET).await?;
        if page.len() < most {
            // Where the queue has more, all that the consumer may hold is on its way to it.
            let (ready, _) = look(&self.channel, queue, self.limit).await?;
            barrier(&self.channel, self.limit).await?;
            let patience = if ready > 0 { self.limit } else { BEHIND };
            fill(&mut consumer, &mut page, most, patience).await?;
        }
        let tag = consumer.tag();
        let cancel = self.channel.basic_cancel(tag, BasicCancelOptions::default());
        within(self.limit, "cancelling a consumer", cancel).await?;
        let drained = drain(&mut consumer, &mut page);
        match tokio::time::timeout(self.limit, drained).await {
            Ok(drained) => drained?,
            Err(_) => return Err(Fault::timed_out("the end of a consumer", self.limit)),
        }
        Ok(page)
    }

    async fn get(&self, queue: &str) -> Result<Option<Delivery>, Fault> {
        let get = self.channel.basic_get(name(queue), BasicGetOptions::default());
        let got = within(self.limit, "a message", get).await?;
        Ok(got.map(|got| got.delivery))
    }

    /// Takes these out for good. On return the broker has read it; the queue itself has settled it after a [flush](Self::flush).
    pub(super) async fn acknowledge(&mut self, places: &[Place]) -> Result<(), Fault> {
        for some in places.chunks(ACKS) {
            for Place(tag) in some {
                // The broker closes the channel on a number that it does not know.
                if !self.held.remove(tag) {
                    continue;
                }
                let ack = self.channel.basic_ack(*tag, BasicAckOptions { multiple: false });
                within(self.limit, "an acknowledgement", ack).await?;
                self.removed = true;
            }
            barrier(&self.channel, self.limit).await?;
        }
        Ok(())
    }

    /// Waits until the queue itself has settled what was taken out of it. Messages may come with it: they are held.
    pub(super) async fn flush(&mut self, queue: &str) -> Result<Vec<Delivery>, Fault> {
        let mut came = Vec::new();
        if !std::mem::take(&mut self.removed) {
            return Ok(came);
        }
        for _ in 0..FLUSHES {
            came.extend(self.ask(queue).await?);
        }
        Ok(came)
    }

    /// What is held of each page that has any left.
    pub(super) fn held_pages(&self) -> Vec<Vec<u64>> {
        let mut first = 0;
        let held = self.pages.iter().map(|end| {
            let held: Vec<_> = self.held.range(first..=*end).copied().collect();
            first = end.saturating_add(1);
            held
        });
        held.filter(|held| !held.is_empty()).collect()
    }

    /// Gives back everything that is held up to this delivery. It stays noted as held.
    pub(super) async fn give_back_to(&self, last: u64) -> Result<(), Fault> {
        let options = BasicNackOptions {
            multiple: true,
            requeue: true,
        };
        let nack = self.channel.basic_nack(last, options);
        within(self.limit, "giving back", nack).await
    }

    /// What was held is given back.
    pub(super) fn forget(&mut self) {
        self.held.clear();
        self.pages.clear();
    }

    /// Gives back everything that is held.
    pub(super) async fn give_back(&mut self) -> Result<(), Fault> {
        if let Some(last) = self.held.last().copied() {
            self.give_back_to(last).await?;
            self.forget();
            barrier(&self.channel, self.limit).await?;
        }
        Ok(())
    }
}

fn name(queue: &str) -> ShortString {
    ShortString::try_new(queue).unwrap_or_default()
}

/// Takes what comes, up to `most`, until nothing comes for so long.
async fn fill(
    consumer: &mut Consumer,
    page: &mut Vec<Delivery>,
    most: usize,
    quiet: Duration,
) -> Result<(), Fault> {
    while page.len() < most {
        match tokio::time::timeout(quiet, consumer.next()).await {
            Ok(Some(delivery)) => page.push(delivery?),
            Ok(None) => return Err(Fault::lost("the broker ended the consumer")),
            Err(_) => break,
        }
    }
    Ok(())
}

/// What was on its way when the consumer was cancelled.
async fn drain(consumer: &mut Consumer, page: &mut Vec<Delivery>) -> Result<(), lapin::Error> {
    while let Some(delivery) = consumer.next().await {
        page.push(delivery?);
    }
    Ok(())
}

/// How many messages a page may have after bodies of which the largest had so many bytes. The next ones may be far larger: so a page
/// that nobody has seen stays small, too.
fn page_of(largest: Option<usize>, most: usize) -> u16 {
    let by_size = match largest {
        None => FIRST_PAGE,
        Some(largest) => (PAGE_BYTES / largest.max(1)).min(MOST_OF_A_PAGE),
    };
    u16::try_from(most.min(by_size).max(1)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_all_bodies_so_far_were_small_a_page_of_large_ones_fits_into_memory() {
        assert_eq!(page_of(None, 256), 16);
        assert_eq!(page_of(Some(0), 256), 32);
        assert_eq!(page_of(Some(100), 256), 32);
        assert_eq!(page_of(Some(1024 * 1024), 256), 4);
        assert_eq!(page_of(Some(16 * 1024 * 1024), 256), 1);
        assert_eq!(page_of(Some(100), 7), 7);
    }
}
