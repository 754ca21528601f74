//! One look through everything that waits in the delay levels, the longest waits first.
//!
//! A message that goes on to a lower level meanwhile is met there; one that is between two levels in that very moment is not,
//! so that whoever must have all of them looks again. Messages that are held don't grow old: given back, they go on.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{Channel, message::Delivery};
use longhaul_core::{
    address::Address,
    admin::{Found, Pass, Place, Waits},
    clock::{Clock, Timestamp},
    transport::TransportError,
};

use super::taking::Taking;
use crate::{declare::Declarer, delay::DelayTopology, fault::Fault, link::Link, properties, timing::Timing};

/// A queue in which delayed messages lie.
#[derive(Clone, Debug)]
pub(super) struct Level {
    /// Its number; `None` for the queue of what fell due and could not be delivered.
    pub(super) number: Option<u32>,
    /// Its name.
    pub(super) queue: String,
}

/// A look through the levels, on a connection of its own: when that ends, what was not taken out is back.
pub(super) struct WaitingPass {
    link: Link,
    taking: Taking,
    delays: DelayTopology,
    clock: Arc<dyn Clock>,
    timing: Timing,
    expected: u64,
    /// The level that is looked through now.
    now: Option<Stage>,
    /// The ones after it.
    next: VecDeque<Level>,
}

/// How far the look through one level is.
struct Stage {
    level: Level,
    /// What came when it was asked whether there is anything.
    first: Vec<Delivery>,
    /// How many are still to come, of what was there when it began.
    left: u64,
    /// Whether what came late was handed out too: only once, so that it ends while others send.
    is_over: bool,
}

impl WaitingPass {
    pub(super) fn new(
        (link, channel): (Link, Channel),
        levels: Vec<Level>,
        expected: u64,
        delays: DelayTopology,
        clock: Arc<dyn Clock>,
        timing: Timing,
    ) -> Self {
        Self {
            link,
            taking: Taking::new(channel, timing.answer),
            delays,
            clock,
            timing,
            expected,
            now: None,
            next: levels.into(),
        }
    }

    async fn page(&mut self, limit: usize) -> Result<Vec<Found>, Fault> {
        loop {
            let Some(stage) = &mut self.now else {
                if !self.begin().await? {
                    return Ok(Vec::new());
                }
                continue;
            };
            let first = std::mem::take(&mut stage.first);
            if !first.is_empty() {
                let level = stage.level.number;
                return Ok(self.found(level, first));
            }
            if stage.left > 0 {
                let page = self.taking.page(&stage.level.queue, limit, stage.left).await?;
                let count = u64::try_from(page.len()).unwrap_or(u64::MAX);
                stage.left = if count == 0 {
                    0
                } else {
                    stage.left.saturating_sub(count)
                };
                if count > 0 {
                    let level = stage.level.number;
                    return Ok(self.found(level, page));
                }
                continue;
            }
            let late = self.taking.flush(&stage.level.queue).await?;
            if !late.is_empty() && !stage.is_over {
                stage.is_over = true;
                let level = stage.level.number;
                return Ok(self.found(level, late));
            }
            self.taking.give_back().await?;
            self.now = None;
        }
    }

    /// Goes on to the next level that holds anything. `false`: there is none.
    async fn begin(&mut self) -> Result<bool, Fault> {
        let mut declarer = Declarer::new(&self.link, &self.timing);
        while let Some(level) = self.next.pop_front() {
            let (mut ready, _) = declarer.look_at(&level.queue).await?;
            let mut first = Vec::new();
            if ready == 0 {
                // The broker says of a queue without a leader that it is empty.
                first = self.taking.ask(&level.queue).await?;
                if first.is_empty() {
                    continue;
                }
                (ready, _) = declarer.look_at(&level.queue).await?;
            }
            self.now = Some(Stage {
                level,
                first,
                left: ready.into(),
                is_over: false,
            });
            return Ok(true);
        }
        Ok(false)
    }

    fn found(&self, level: Option<u32>, page: Vec<Delivery>) -> Vec<Found> {
        let now = self.clock.now();
        let found = page.into_iter().map(|delivery| {
            let place = Place(delivery.delivery_tag);
            let due = properties::due(&delivery.properties);
            let waits = waits(&self.delays, delivery.routing_key.as_str(), level, due, now);
            let (incoming, redeliveries) =
                properties::incoming(delivery.properties, delivery.data, delivery.redelivered);
            Found {
                incoming,
                redeliveries,
                place,
                waits,
            }
        });
        found.collect()
    }

    fn lost(&self, fault: &Fault) -> TransportError {
        fault.while_doing(&format!(
            "look through the delay levels of `{}`",
            self.delays.prefix()
        ))
    }
}

/// Where a message goes and when: as it says, or else as late as its routing key allows, which is never too early.
fn waits(
    delays: &DelayTopology,
    routing_key: &str,
    level: Option<u32>,
    due: Option<Timestamp>,
    now: Timestamp,
) -> Option<Waits> {
    let (units, address) = delays.parse(routing_key).ok()?;
    let left = level.map_or(Duration::ZERO, |level| delays.remaining(units, level));
    Some(Waits {
        to: Address::new(address).ok()?,
        due: due.unwrap_or_else(|| now + left),
    })
}

#[async_trait]
impl Pass for WaitingPass {
    fn expected(&self) -> u64 {
        self.expected
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Found>, TransportError> {
        self.page(limit.max(1)).await.map_err(|fault| {
            self.link.cut();
            self.lost(&fault)
        })
    }

    async fn remove(&mut self, places: &[Place]) -> Result<(), TransportError> {
        self.taking.acknowledge(places).await.map_err(|fault| {
            self.link.cut();
            fault.while_doing("take messages out of the delay levels")
        })
    }

    async fn close(mut self: Box<Self>) -> Result<(), TransportError> {
        let ended = match self.now.take() {
            Some(stage) => self.taking.flush(&stage.level.queue).await.map(drop),
            None => Ok(()),
        };
        let ended = match ended {
            Ok(()) => self.taking.give_back().await,
            Err(fault) => Err(fault),
        };
        let ended = ended.map_err(|fault| self.lost(&fault));
        self.link.close().await;
        ended
    }
}

impl fmt::Debug for WaitingPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingPass")
            .field("prefix", &self.delays.prefix())
            .field("now", &self.now.as_ref().map(|stage| &stage.level))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_message_does_not_say_when_it_is_due_it_waits_what_its_key_has_left_at_most() {
        let delays = DelayTopology::new("longhaul");
        let key = delays.route(42, "Foo.Sales").unwrap().unwrap().routing_key;
        let now = Timestamp::UNIX_EPOCH;
        let left = |level| {
            let waits = waits(&delays, &key, level, None, now).unwrap();
            assert_eq!(waits.to.as_str(), "Foo.Sales");
            waits.due.since(now).as_secs()
        };
        // 42 is 32 + 8 + 2.
        assert_eq!([Some(5), Some(3), Some(1), None].map(left), [42, 10, 2, 0]);
        let said = now + Duration::from_secs(7);
        assert_eq!(waits(&delays, &key, Some(5), Some(said), now).unwrap().due, said);
        assert_eq!(waits(&delays, "no bits", Some(5), Some(said), now), None);
    }
}
