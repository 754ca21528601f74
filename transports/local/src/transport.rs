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
use crate::content::Content;
use crate::link::Link;
use crate::receiver::LocalReceiver;
use crate::state::{self, MAX_DELAY};
use crate::topology;

#[async_trait]
impl Transport for LocalBroker {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "local",
            max_delay: MAX_DELAY,
            max_body: self.shared.options.max_body,
            max_batch: 1_000,
            durable: false,
        }
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        match mode {
            Declare::Declare => topology::declare(&mut self.shared.lock(), topology),
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
        if options.prefetch == 0 {
            let why = "a prefetch of 0 would never let a message through; use at least 1";
            return Err(error(TransportErrorKind::Configuration, why));
        }
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
        let options = &self.shared.options;
        let mut arrivals = Vec::with_capacity(batch.len());
        let mut state = self.shared.lock();
        let results = batch.iter().map(|dispatch| {
            let due = state::check(dispatch, now, options)?;
            let content = Arc::new(Content::Envelope(dispatch.envelope.clone()));
            state.admit(&content, &dispatch.to, due, options, &mut arrivals)
        });
        let results = results.collect();
        state.join(arrivals, now);
        results
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }
}
