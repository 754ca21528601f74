//! What operators do: create and check the delay levels, look at what is refused, send again what was kept aside.

use std::{collections::HashMap, sync::PoisonError};

use longhaul_core::transport::TransportError;

use crate::{
    declare::Declarer,
    delay::DelayTopology,
    link::Link,
    publish::Refusing,
    rabbit::{RabbitMq, closed},
    undeliverable::{self, Redelivered},
};

impl RabbitMq {
    /// The delay levels that this transport uses.
    pub fn delays(&self) -> &DelayTopology {
        &self.delays
    }

    /// Creates the delay levels: exchanges, queues and bindings. Safe to repeat.
    ///
    /// # Errors
    ///
    /// Something exists with other arguments, access is refused, or the broker can't be reached.
    pub async fn create_delays(&self) -> Result<(), TransportError> {
        let link = self.open("delays").await?;
        let created = Declarer::new(&link, &self.target.timing)
            .create(&self.delays.plan())
            .await;
        link.close().await;
        created
    }

    /// Checks that the delay levels exist with the right arguments, and says how many messages wait in each queue.
    ///
    /// Bindings can't be read over AMQP: they are not checked.
    ///
    /// # Errors
    ///
    /// All that is missing or different, together; or the broker can't be reached.
    pub async fn verify_delays(&self) -> Result<Vec<(String, u32)>, TransportError> {
        let link = self.open("delays").await?;
        let found = self.look_at_delays(&link).await;
        link.close().await;
        found
    }

    async fn look_at_delays(&self, link: &Link) -> Result<Vec<(String, u32)>, TransportError> {
        let mut declarer = Declarer::new(link, &self.target.timing);
        let plan = self.delays.plan();
        declarer.verify(&plan).await?;
        let mut depths = Vec::with_capacity(plan.queues.len());
        for queue in plan.queues {
            let look = declarer.look_at(&queue.name).await;
            let (messages, _) =
                look.map_err(|fault| fault.while_doing(&format!("look at the queue `{}`", queue.name)))?;
            depths.push((queue.name, messages));
        }
        Ok(depths)
    }

    /// Sends delayed messages that were kept aside, since their queue was gone when they fell due, to their queues: at
    /// most `limit` of them. Those whose queue is still missing stay.
    ///
    /// # Errors
    ///
    /// The broker can't be reached or does not take a message; what was not sent stays.
    pub async fn redeliver_undeliverable(&self, limit: usize) -> Result<Redelivered, TransportError> {
        let publisher = self.publisher().ok_or_else(closed)?;
        let link = self.open("undeliverable").await?;
        let channel = link
            .channel()
            .await
            .map_err(|fault| fault.while_doing("open a channel"))?;
        let timing = &self.target.timing;
        let result = undeliverable::redeliver(&channel, &publisher, &self.delays, timing, limit).await;
        link.close().await;
        result
    }

    /// Queues that the broker takes nothing for, by name: they are full, or were declared and have no leader.
    pub fn refusing(&self) -> HashMap<String, Refusing> {
        self.refusing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
