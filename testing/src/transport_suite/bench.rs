//! What the cases share: a transport on the fixture's broker, and steps that end or fail in time.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::{Envelope, Incoming};
use longhaul_core::headers::Headers;
use longhaul_core::ids::MessageId;
use longhaul_core::transport::{
    Accepted, Declare, Delivery, Destination, Dispatch, Health, Receiver, ReceiverOptions, Settled,
    Settlement, Subscription, Topology, Transport, TransportError,
};

use crate::transport_suite::TransportFixture;

/// A transport, and steps on it.
pub(super) struct Bench<'a> {
    pub(super) fixture: &'a dyn TransportFixture,
    pub(super) transport: Arc<dyn Transport>,
}

impl<'a> Bench<'a> {
    pub(super) async fn new(fixture: &'a dyn TransportFixture) -> Self {
        let transport = fixture.transport().await;
        Self { fixture, transport }
    }

    /// Lets go of the transport and has the broker restarted. `None`: it can't be.
    pub(super) async fn restarted(self) -> Option<Self> {
        let Self { fixture, transport } = self;
        drop(transport);
        if !fixture.restart().await {
            skipped("it can't restart its broker");
            return None;
        }
        Some(Self::new(fixture).await)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.fixture.clock().now()
    }

    /// The health becomes good, for all who ask.
    pub(super) async fn connected(&self) {
        for mut health in [self.transport.health(), self.transport.health()] {
            let connected = async {
                health
                    .wait_for(|health| *health == Health::Connected)
                    .await
                    .is_ok()
            };
            let connected = self.within("see the transport connected", connected).await;
            assert!(connected, "the transport no longer tells how it is");
        }
    }

    pub(super) fn address(&self, hint: &str) -> Address {
        address(&self.fixture.unique(hint))
    }

    pub(super) async fn prepare(&self, topology: &Topology) {
        let prepared = self
            .within("prepare", self.transport.prepare(topology, Declare::Declare))
            .await;
        if let Err(error) = prepared {
            panic!("failed to {error}");
        }
    }

    /// A queue that is there, with delays.
    pub(super) async fn queue(&self, hint: &str) -> Address {
        let queue = self.address(hint);
        self.prepare(&queues(&[&queue])).await;
        queue
    }

    /// Two queues, of which both subscribe to one event.
    pub(super) async fn subscribers(&self, event: &str) -> [Address; 2] {
        let both = [self.address("first"), self.address("second")];
        let topology = Topology {
            subscriptions: both.iter().map(|queue| subscription(event, queue)).collect(),
            ..queues(&[&both[0], &both[1]])
        };
        self.prepare(&topology).await;
        both
    }

    pub(super) async fn try_receiver(
        &self,
        queue: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        self.within("open a receiver", self.transport.receiver(queue, options))
            .await
    }

    pub(super) async fn receiver(&self, queue: &Address) -> Box<dyn Receiver> {
        self.receiver_with(queue, ReceiverOptions::default()).await
    }

    pub(super) async fn receiver_with(&self, queue: &Address, options: ReceiverOptions) -> Box<dyn Receiver> {
        let receiver = self.try_receiver(queue, options).await;
        receiver.unwrap_or_else(|error| panic!("failed to {error}"))
    }

    pub(super) async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        let results = self.within("dispatch", self.transport.dispatch(batch)).await;
        assert_eq!(results.len(), batch.len(), "one result per entry");
        results
    }

    /// Sends one message that must be accepted.
    pub(super) async fn send(&self, dispatch: Dispatch) -> Accepted {
        let result = self.dispatch(&[dispatch]).await.pop();
        match result {
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => panic!("failed to {error}"),
            None => panic!("there was no result"),
        }
    }

    /// Sends messages of these ids to a queue in one batch; all must be accepted.
    pub(super) async fn send_ids(&self, queue: &Address, ids: &[&str]) {
        let batch: Vec<Dispatch> = ids.iter().map(|id| to_queue(id, queue)).collect();
        for result in self.dispatch(&batch).await {
            if let Err(error) = result {
                panic!("failed to {error}");
            }
        }
    }

    /// The next message, which must come.
    pub(super) async fn next(&self, receiver: &mut Box<dyn Receiver>) -> Delivery {
        let delivery = self.within("receive the next message", receiver.receive()).await;
        delivery.unwrap_or_else(|error| panic!("failed to {error}"))
    }

    /// The id of the next message, which is acknowledged.
    pub(super) async fn next_id(&self, receiver: &mut Box<dyn Receiver>) -> String {
        let (incoming, settlement) = self.next(receiver).await.into_parts();
        self.acknowledge(settlement).await;
        id(&incoming)
    }

    /// The ids of the next messages, in the order in which they come.
    pub(super) async fn next_ids(&self, receiver: &mut Box<dyn Receiver>, count: usize) -> Vec<String> {
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(self.next_id(receiver).await);
        }
        ids
    }

    /// The ids of everything that comes, each acknowledged, however often each comes: until those of `awaited` have come, which
    /// must, and then until it is silent.
    pub(super) async fn drain(
        &self,
        receiver: &mut Box<dyn Receiver>,
        awaited: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        loop {
            let delivery = if awaited.is_subset(&ids) {
                let Some(delivery) = self.listen(receiver).await else {
                    return ids;
                };
                delivery
            } else {
                self.next(receiver).await
            };
            let (incoming, settlement) = delivery.into_parts();
            self.acknowledge(settlement).await;
            ids.insert(id(&incoming));
        }
    }

    /// Nothing comes for a while.
    pub(super) async fn nothing_comes(&self, receiver: &mut Box<dyn Receiver>) {
        if let Some(delivery) = self.listen(receiver).await {
            panic!("message {:?} came, where nothing should", id(&delivery.incoming));
        }
    }

    /// What comes within the time of silence.
    pub(super) async fn listen(&self, receiver: &mut Box<dyn Receiver>) -> Option<Delivery> {
        let came = self.at_most(self.fixture.silence(), receiver.receive()).await?;
        Some(came.unwrap_or_else(|error| panic!("failed to {error}")))
    }

    pub(super) async fn acknowledge(&self, settlement: Settlement) {
        match self.within("acknowledge", settlement.acknowledge()).await {
            Ok(Settled::Done) => {}
            Ok(Settled::Lost) => panic!("the right to acknowledge was lost"),
            Err(error) => panic!("failed to {error}"),
        }
    }

    pub(super) async fn release(&self, settlement: Settlement, after: Duration) {
        match self.within("release", settlement.release(after)).await {
            Ok(Settled::Done) => {}
            Ok(Settled::Lost) => panic!("the right to release was lost"),
            Err(error) => panic!("failed to {error}"),
        }
    }

    pub(super) async fn close(&self, receiver: Box<dyn Receiver>) {
        if let Err(error) = self.within("close the receiver", receiver.close()).await {
            panic!("failed to {error}");
        }
    }

    /// The output of something that must end in time.
    pub(super) async fn within<T: Send>(&self, what: &str, future: impl Future<Output = T> + Send) -> T {
        let output = self.at_most(self.fixture.patience(), future).await;
        output.unwrap_or_else(|| panic!("failed to {what} within {:?}", self.fixture.patience()))
    }

    /// The output of something, if it ends in time.
    pub(super) async fn at_most<T: Send>(
        &self,
        limit: Duration,
        future: impl Future<Output = T> + Send,
    ) -> Option<T> {
        let mut output = None;
        let into = &mut output;
        let ended = self
            .fixture
            .within(limit, Box::pin(async move { *into = Some(future.await) }))
            .await;
        output.filter(|_| ended)
    }

    /// The message did not come before its time.
    pub(super) fn assert_not_before(&self, due: Timestamp) {
        let now = self.now();
        assert!(
            now + self.fixture.slack() >= due,
            "it was due at {due} and came at {now}, too early"
        );
    }
}

pub(super) fn address(name: &str) -> Address {
    Address::new(name).unwrap_or_else(|error| panic!("failed to {error}"))
}

pub(super) fn message_id(id: &str) -> MessageId {
    MessageId::new(id).unwrap_or_else(|error| panic!("failed to {error}"))
}

pub(super) fn envelope(id: &str) -> Envelope {
    let headers = [("longhaul.type", "test.message.v1"), ("longhaul.intent", "send")];
    Envelope::new(
        message_id(id),
        headers.into_iter().collect::<Headers>(),
        Bytes::from(format!("{{\"id\":\"{id}\"}}")),
    )
}

pub(super) fn to_queue(id: &str, queue: &Address) -> Dispatch {
    Dispatch {
        envelope: envelope(id),
        to: Destination::Queue(queue.clone()),
        due: None,
    }
}

pub(super) fn due(id: &str, queue: &Address, due: Timestamp) -> Dispatch {
    Dispatch {
        due: Some(due),
        ..to_queue(id, queue)
    }
}

pub(super) fn event(id: &str, event: &str) -> Dispatch {
    Dispatch {
        envelope: envelope(id),
        to: Destination::Subscribers(event.to_owned()),
        due: None,
    }
}

pub(super) fn subscription(event: &str, queue: &Address) -> Subscription {
    Subscription {
        event: event.to_owned(),
        queue: queue.clone(),
    }
}

/// These queues, with delays.
pub(super) fn queues(queues: &[&Address]) -> Topology {
    Topology {
        queues: queues.iter().map(|queue| (*queue).clone()).collect(),
        delays: true,
        ..Topology::default()
    }
}

/// The message's id as text.
pub(super) fn id(incoming: &Incoming) -> String {
    let id = incoming.id.as_deref().unwrap_or_default();
    String::from_utf8_lossy(id).into_owned()
}

pub(super) fn skipped(why: &str) {
    eprintln!("not tested: the fixture says that {why}");
}
