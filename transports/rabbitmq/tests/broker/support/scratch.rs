//! Queues and exchanges of one test, deleted when it ends, however it ends.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use longhaul_core::{
    address::Address,
    clock::{Clock, SystemClock, Timestamp},
    transport::{Declare, Subscription, Topology, Transport},
};
use longhaul_rabbitmq::{DelayTopology, RabbitMq, RabbitMqBuilder};

use super::{raw::Raw, url};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Names that no other test uses.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    pub(crate) name: String,
    queues: Arc<Mutex<Vec<String>>>,
    exchanges: Arc<Mutex<Vec<String>>>,
}

/// A name that nothing else has.
pub(crate) fn unique() -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let micros = SystemClock.now().as_micros() % 1_000_000;
    format!("t{}-{micros}-{number}", std::process::id())
}

/// Runs a test with names of its own, and deletes everything of those names afterwards.
pub(crate) async fn scratch(test: impl AsyncFnOnce(Scratch)) {
    let name = unique();
    let scratch = Scratch {
        name,
        queues: Arc::default(),
        exchanges: Arc::default(),
    };
    let ended = AssertUnwindSafe(test(scratch.clone())).catch_unwind().await;
    scratch.clean().await;
    if let Err(failed) = ended {
        resume_unwind(failed);
    }
}

impl Scratch {
    /// The name of a queue.
    pub(crate) fn queue(&self, name: &str) -> Address {
        let queue = format!("{}.{name}", self.name);
        self.queues.lock().unwrap().push(queue.clone());
        Address::new(queue).unwrap()
    }

    /// One more queue to delete at the end.
    pub(crate) fn also(&self, queue: &Address) {
        self.queues.lock().unwrap().push(queue.to_string());
    }

    /// The wire name of an event.
    pub(crate) fn event(&self, name: &str) -> String {
        self.exchanges
            .lock()
            .unwrap()
            .push(format!("{}.event.{name}", self.name));
        name.to_owned()
    }

    /// A transport on the test's broker, with a unit of 20 ms for delays.
    pub(crate) fn builder(&self) -> RabbitMqBuilder {
        self.builder_at(&url())
    }

    /// The same by another way to the broker.
    pub(crate) fn builder_at(&self, url: &str) -> RabbitMqBuilder {
        RabbitMq::builder(url)
            .prefix(&self.name)
            .connection_name(&self.name)
            .delay_unit(Duration::from_millis(20))
    }

    pub(crate) async fn transport(&self) -> RabbitMq {
        self.builder().connect().await.unwrap()
    }

    /// A transport and a queue that is ready to be sent to.
    pub(crate) async fn with_queue(&self, name: &str) -> (RabbitMq, Address) {
        let (transport, queue) = (self.transport().await, self.queue(name));
        transport
            .prepare(&topology(&[&queue]), Declare::Declare)
            .await
            .unwrap();
        (transport, queue)
    }

    async fn clean(&self) {
        let raw = Raw::connect().await;
        let delays = DelayTopology::new(&self.name).plan();
        let dead = format!("{}.dead-letter", self.name);
        let queues = std::mem::take(&mut *self.queues.lock().unwrap());
        for queue in queues
            .iter()
            .chain(delays.queues.iter().map(|queue| &queue.name))
            .chain([&dead])
        {
            raw.delete_queue(queue).await;
        }
        let exchanges = std::mem::take(&mut *self.exchanges.lock().unwrap());
        for exchange in exchanges
            .iter()
            .chain(delays.exchanges.iter().map(|exchange| &exchange.name))
            .chain([&dead])
        {
            raw.delete_exchange(exchange).await;
        }
    }
}

/// Queues to consume and nothing else.
pub(crate) fn topology(queues: &[&Address]) -> Topology {
    Topology {
        queues: queues.iter().map(|queue| (*queue).clone()).collect(),
        ..Topology::default()
    }
}

/// One subscription.
pub(crate) fn subscribed(event: &str, queue: &Address) -> Subscription {
    Subscription {
        event: event.to_owned(),
        queue: queue.clone(),
    }
}

/// That many milliseconds from now.
pub(crate) fn in_ms(milliseconds: u64) -> Timestamp {
    SystemClock.now() + Duration::from_millis(milliseconds)
}
