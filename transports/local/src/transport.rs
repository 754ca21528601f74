//! The broker as a transport.

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::address::Address;
use longhaul_core::transport::{
    Accepted, Capabilities, Declare, Dispatch, Health, Receiver, ReceiverOptions, Report, Topology,
    Transport, TransportError, TransportErrorKind,
};
use tokio::sync::watch;

use crate::broker::LocalBroker;
use crate::link::Link;
use crate::receiver::LocalReceiver;
use crate::shared::check_working;
use crate::state::{self, MAX_DELAY};
use crate::topology;

#[async_trait]
impl Transport for LocalBroker {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "local",
            max_delay: MAX_DELAY,
            max_delay_storeless: MAX_DELAY,
            max_body: self.shared.options.max_body,
            max_batch: 1_000,
            durable: self.shared.journal.is_some(),
        }
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        match mode {
            Declare::Declare => self.declare(topology).await,
            Declare::Verify => topology::verify(&self.shared.lock(), topology),
            Declare::Assume => Ok(Report::default()),
        }
    }

    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        let error =
            |kind, why: &str| TransportError::new(kind, format!("receive from the queue {source:?}: {why}"));
        let link = Link::new();
        let mut state = self.shared.lock();
        let Some(queue) = state.queues.get_mut(source) else {
            let why = "there is none of that name; prepare it first";
            return Err(error(TransportErrorKind::Topology, why));
        };
        let Some(receiver) = queue.enter(options, &link) else {
            let why =
                "another consumer has it, and one of the two wants to be alone; stop the other one first";
            return Err(error(TransportErrorKind::InUse, why));
        };
        Ok(Box::new(LocalReceiver {
            shared: Arc::clone(&self.shared),
            queue: source.clone(),
            receiver,
            arrived: Arc::clone(&queue.arrived),
            link,
        }))
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        let now = self.shared.clock.now();
        let wanted = batch.iter();
        let wanted = wanted.map(|dispatch| state::check(dispatch, now, &self.shared.options));
        self.shared.accept(wanted.collect()).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }
}

impl LocalBroker {
    async fn declare(&self, topology: &Topology) -> Result<Report, TransportError> {
        let (report, commit) = {
            let mut state = self.shared.lock();
            check_working(&state)?;
            let report = topology::declare(&mut state, topology)?;
            // All of it each time: what an earlier call could not store is stored by this one.
            (report, self.shared.commit(topology::writes(topology)))
        };
        self.shared.committed("prepare the queues", commit).await?;
        Ok(report)
    }
}
