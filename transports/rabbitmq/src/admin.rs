//! What operators do with the queues of RabbitMQ.
//!
//! AMQP has no way to look at a queue: to see messages is to take them, without acknowledging. A pass takes page after page, each
//! with a consumer of its own that may hold just that many, and gives all of them back at the end, in their order. Every
//! look counts as a delivery, which is why error queues are declared with a limit that is never reached.

mod pass;
mod taking;
mod waiting;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{Channel, options::QueueDeclareOptions, types::FieldTable, types::ShortString};
use longhaul_core::{
    address::Address,
    admin::{Pass, QueueAdmin, QueueDepth},
    transport::{TransportError, TransportErrorKind},
};
use tokio::time::Instant;

use crate::{
    declare::Declarer,
    fault::{Fault, FaultKind, within},
    link::Link,
    names::error_queue,
    rabbit::RabbitMq,
    timing::Timing,
};

use pass::RabbitPass;
use waiting::{Level, WaitingPass};

/// How long an operator that was there a moment ago (killed, for one) may take to be gone.
const LEAVING: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a queue that somebody consumes must stay as it is to be taken for one that stays so.
const STEADY: Duration = Duration::from_secs(1);

#[async_trait]
impl QueueAdmin for RabbitMq {
    fn caution(&self) -> Option<&'static str> {
        Some("while a pass lasts, nobody else sees the messages that it has come by")
    }

    async fn queues(&self, _limit: usize) -> Result<Option<Vec<Address>>, TransportError> {
        // AMQP does not list them.
        Ok(None)
    }

    async fn depth(&self, queue: &Address) -> Result<QueueDepth, TransportError> {
        let link = self.open("operator").await?;
        let look = Declarer::new(&link, &self.target.timing)
            .look_at(queue.as_str())
            .await;
        link.close().await;
        let (ready, consumers) = look.map_err(|fault| looking(&fault, queue))?;
        Ok(QueueDepth {
            ready: ready.into(),
            unsettled: None,
            delayed: None,
            consumers: Some(consumers.into()),
        })
    }

    async fn look_through(&self, queue: &Address) -> Result<Box<dyn Pass>, TransportError> {
        let link = self.open("operator").await?;
        let begun = self.begin(&link, queue).await;
        match begun {
            Ok((channel, expected)) => {
                let timing = self.target.timing.clone();
                let mut pass = RabbitPass::new(link, channel, queue.clone(), expected, timing);
                // Given up, its connection ends, and all is back.
                pass.make_sure().await.map_err(|fault| pass.lost(&fault))?;
                Ok(Box::new(pass))
            }
            Err(error) => {
                link.close().await;
                Err(error)
            }
        }
    }
}

/// What the lock of whoever looks through the levels is called, before the prefix.
const LEVELS: &str = "delay-levels";

impl RabbitMq {
    /// Begins to look through everything that waits for its time in the delay levels, the longest waits first, and at last
    /// through what fell due and had no queue. Of each message it shows where it goes and when. Only one such pass at a time is let
    /// through; it ends with its process.
    ///
    /// A message that is looked at and left there counts as delivered: from RabbitMQ 4.0 on it may go on to its next level
    /// before its time once that happened 20 times.
    ///
    /// # Errors
    ///
    /// There are no delay levels under this prefix, or another operator is at them; or the broker can't be reached.
    pub async fn look_through_delays(&self) -> Result<Box<dyn Pass>, TransportError> {
        let link = self.open("operator").await?;
        match self.begin_waiting(&link).await {
            Ok((channel, levels, expected)) => Ok(Box::new(WaitingPass::new(
                (link, channel),
                levels,
                expected,
                self.delays.clone(),
                Arc::clone(&self.clock),
                self.target.timing.clone(),
            ))),
            Err(error) => {
                link.close().await;
                Err(error)
            }
        }
    }

    /// How many messages wait in each delay level, the longest waits first, and at last how many fell due and had no queue. Levels
    /// that are missing are left out.
    ///
    /// # Errors
    ///
    /// None of them is there, or the broker can't be reached.
    pub async fn delays_depth(&self) -> Result<Vec<(String, u64)>, TransportError> {
        let link = self.open("delays").await?;
        let found = self.levels(&link).await;
        link.close().await;
        let found = found?.into_iter();
        Ok(found.map(|(level, messages)| (level.queue, messages)).collect())
    }

    async fn begin_waiting(&self, link: &Link) -> Result<(Channel, Vec<Level>, u64), TransportError> {
        // Before the lock, since there may be nothing to lock.
        self.levels(link).await?;
        let levels = format!("{}.{LEVELS}", self.delays.prefix());
        let lost = |fault: Fault| fault.while_doing("look through the delay levels");
        let lock = lock(link, &self.names.operator_of(&levels), &self.target.timing).await;
        lock.map_err(|fault| match fault.kind {
            FaultKind::Locked => TransportError::new(
                TransportErrorKind::InUse,
                "look through the delay levels: another operator does; wait until that one is done",
            ),
            _ => lost(fault),
        })?;
        let mut found = self.levels(link).await?;
        let mut declarer = Declarer::new(link, &self.target.timing);
        for (level, messages) in &mut found {
            let ready = left_alone(&mut declarer, &level.queue).await.map_err(lost)?;
            *messages = ready.into();
        }
        let expected = found.iter().map(|(_, messages)| messages).sum();
        let channel = link.channel().await.map_err(lost)?;
        let levels = found.into_iter().map(|(level, _)| level).collect();
        Ok((channel, levels, expected))
    }

    /// The levels that are there, and how many messages lie in each.
    async fn levels(&self, link: &Link) -> Result<Vec<(Level, u64)>, TransportError> {
        let mut declarer = Declarer::new(link, &self.target.timing);
        let mut numbers: Vec<u32> = self.delays.each_level().collect();
        numbers.reverse();
        let levels = numbers.into_iter().map(|number| Level {
            number: Some(number),
            queue: self.delays.level_name(number),
        });
        let rest = Level {
            number: None,
            queue: self.delays.undeliverable(),
        };
        let mut found = Vec::new();
        for level in levels.chain([rest]) {
            match declarer.look_at(&level.queue).await {
                Ok((ready, _)) => found.push((level, ready.into())),
                Err(fault) if fault.kind == FaultKind::NotFound => {}
                Err(fault) => {
                    return Err(fault.while_doing(&format!("look at the queue `{}`", level.queue)));
                }
            }
        }
        if found.is_empty() {
            let text = format!(
                "find delay levels whose names begin with `{}.`: there are none; correct the prefix, or create them",
                self.delays.prefix()
            );
            return Err(TransportError::new(TransportErrorKind::Topology, text));
        }
        Ok(found)
    }

    async fn begin(&self, link: &Link, queue: &Address) -> Result<(Channel, u64), TransportError> {
        let timing = &self.target.timing;
        let mut declarer = Declarer::new(link, timing);
        let look = declarer.look_at(queue.as_str()).await;
        look.map_err(|fault| looking(&fault, queue))?;
        match declarer.compare(&error_queue(queue)).await {
            Ok(()) => {}
            Err(fault) if fault.kind == FaultKind::Denied => {
                tracing::warn!(%queue, "can't check how the queue was declared: the user has no right to declare it");
            }
            Err(fault) if fault.kind == FaultKind::Different => return Err(otherwise(&fault, queue)),
            Err(fault) => return Err(looking(&fault, queue)),
        }
        lock(link, &self.names.operator_of(queue.as_str()), timing)
            .await
            .map_err(|fault| locking(&fault, queue))?;
        // Only now no other operator takes any of it.
        let ready = left_alone(&mut declarer, queue.as_str()).await;
        let ready = ready.map_err(|fault| looking(&fault, queue))?;
        let channel = link.channel().await;
        Ok((channel.map_err(|fault| looking(&fault, queue))?, ready.into()))
    }
}

/// Keeps other operators out while the connection lives: an exclusive queue belongs to one.
async fn lock(link: &Link, name: &str, timing: &Timing) -> Result<(), Fault> {
    let deadline = Instant::now() + LEAVING;
    loop {
        // A refusal closes the channel.
        let channel = link.channel().await?;
        let name = ShortString::try_new(name).map_err(|_| Fault::lost("the name of its lock is too long"))?;
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..Default::default()
        };
        let declare = channel.queue_declare(name, options, FieldTable::default());
        match within(timing.answer, "a lock", declare).await {
            Ok(_) => return Ok(()),
            Err(fault) if fault.kind == FaultKind::Denied => {
                tracing::warn!("can't keep other operators out: the user has no right to declare a queue");
                return Ok(());
            }
            Err(fault) if fault.kind == FaultKind::Locked && Instant::now() < deadline => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(fault) => return Err(fault),
        }
    }
}

/// How many messages a queue has once it has back what was taken out of it by whoever had its lock before: that comes free before
/// the queue knows that its owner is gone, and what was taken has a consumer until the queue does.
async fn left_alone(declarer: &mut Declarer<'_>, queue: &str) -> Result<u32, Fault> {
    let deadline = Instant::now() + LEAVING;
    let mut look = declarer.look_at(queue).await?;
    let mut since = Instant::now();
    while look.1 > 0 && Instant::now() < deadline && since.elapsed() < STEADY {
        tokio::time::sleep(LOOK_AGAIN).await;
        let again = declarer.look_at(queue).await?;
        if again != look {
            (look, since) = (again, Instant::now());
        }
    }
    Ok(look.0)
}

fn locking(fault: &Fault, queue: &Address) -> TransportError {
    if fault.kind == FaultKind::Locked {
        let text =
            format!("look through the queue `{queue}`: another operator does; wait until that one is done");
        return TransportError::new(TransportErrorKind::InUse, text);
    }
    looking(fault, queue)
}

fn looking(fault: &Fault, queue: &Address) -> TransportError {
    if fault.kind == FaultKind::NotFound {
        let text = format!(
            "look at the queue `{queue}`: there is none of that name; correct it, or start its endpoint once"
        );
        return TransportError::new(TransportErrorKind::Topology, text);
    }
    fault.while_doing(&format!("look at the queue `{queue}`"))
}

fn otherwise(fault: &Fault, queue: &Address) -> TransportError {
    let text = format!(
        "look through the queue `{queue}` ({}): it is not declared as an error queue of Longhaul is, and the broker might \
         drop messages that were looked at too often; move them with a shovel to a queue that an endpoint has declared",
        fault.text
    );
    TransportError::new(TransportErrorKind::Topology, text)
}
