//! A broker, a database and a clock, and the messages and handlers that the situations share.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longhaul::address::Address;
use longhaul::clock::ManualClock;
use longhaul::endpoint::{EndpointBuilder, Monitor};
use longhaul::envelope::{Envelope, Incoming, Intent};
use longhaul::headers::{self, Headers};
use longhaul::ids::SeededRandomness;
use longhaul::local::Browsed;
use longhaul::prelude::*;
use longhaul::store::{Sizes, Store};
use longhaul::transport::{ReceiverOptions, Transport};
use longhaul_testing::virtual_time::VirtualTime;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("test.do.v1")]
pub(crate) struct Do {
    pub(crate) what: String,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[message("test.done.v1")]
pub(crate) struct Done {
    pub(crate) what: String,
}

/// A world at the beginning of 2026.
pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) broker: LocalBroker,
    pub(crate) memory: Memory,
    pub(crate) time: VirtualTime,
}

impl World {
    pub(crate) fn new() -> Self {
        let start = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
        let clock = ManualClock::starting_at(start);
        Self {
            broker: LocalBroker::in_memory(Arc::new(clock.clone())),
            memory: Memory::pretending_durable(),
            time: VirtualTime::new(clock.clone())
                .giving_up_at(start + Duration::from_secs(40 * 366 * 86_400)),
            clock,
        }
    }

    /// A builder with this world's broker, database and clock, named `name`.
    pub(crate) fn endpoint(&self, name: &str) -> EndpointBuilder {
        self.stateless(name).persistence(self.memory.clone())
    }

    /// A builder without a database.
    pub(crate) fn stateless(&self, name: &str) -> EndpointBuilder {
        Endpoint::builder(name)
            .transport(self.broker.clone())
            .clock(self.clock.clone())
            .randomness(SeededRandomness::new(7))
            .host("here")
    }

    /// Builds and starts an endpoint.
    pub(crate) fn start(&self, builder: EndpointBuilder) -> Running {
        let endpoint = self.time.block_on(builder.build()).expect("the endpoint builds");
        let (session, monitor) = (endpoint.session(), endpoint.monitor());
        let (stop, stopped) = oneshot::channel::<()>();
        let (ended, end) = oneshot::channel();
        // The future must be fit for any executor.
        let run: futures_util::future::BoxFuture<'static, ()> = Box::pin(async move {
            let result = endpoint.run_until(async { drop(stopped.await) }).await;
            drop(ended.send(result));
        });
        drop(self.time.spawn(run));
        Running {
            session,
            monitor,
            stop: Some(stop),
            end,
        }
    }

    /// Runs until `condition` holds, looking every ten virtual milliseconds for up to ten virtual minutes.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = self.clock.now() + Duration::from_secs(600);
        let met = self.time.block_on(async {
            while !condition() {
                if self.clock.now() > deadline {
                    return false;
                }
                self.clock
                    .sleep_until(self.clock.now() + Duration::from_millis(10))
                    .await;
            }
            true
        });
        assert!(met, "waited ten minutes for: {what}");
    }

    /// Lets virtual time pass.
    pub(crate) fn pass(&self, duration: Duration) {
        self.run(self.clock.sleep_until(self.clock.now() + duration));
    }

    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.time.block_on(future)
    }

    /// What is in a queue.
    pub(crate) fn browse(&self, queue: &str) -> Vec<Browsed> {
        self.broker.browse(&address(queue), 1000).unwrap_or_default()
    }

    /// A header of the n-th message in the error queue.
    #[track_caller]
    pub(crate) fn error_header(&self, n: usize, name: &str) -> String {
        let browsed = self.browse("error");
        let headers = &browsed
            .get(n)
            .expect("a message in the error queue")
            .incoming
            .headers;
        let found = headers.iter().find(|(have, _)| have == name).expect("the header");
        String::from_utf8(found.1.clone()).expect("text")
    }

    /// Takes the first message of a queue and ends without settling it, as a process does that is killed.
    pub(crate) fn take_and_drop(&self, queue: &str) {
        self.run(async {
            let mut receiver = self
                .broker
                .receiver(&address(queue), ReceiverOptions::default())
                .await
                .expect("consumes");
            drop(receiver.receive().await.expect("takes"));
        });
    }

    /// Deletes a queue with all that is in it.
    pub(crate) fn delete_queue(&self, queue: &str) {
        let deleted = self.run(self.broker.delete_queue(&address(queue)));
        assert!(deleted.expect("deletes"), "there is such a queue");
    }

    /// The store of an endpoint.
    pub(crate) fn store(&self, endpoint: &str) -> Arc<dyn Store> {
        use longhaul::store::Persistence;
        self.run(self.memory.open(&address(endpoint))).expect("opens")
    }

    pub(crate) fn sizes(&self, endpoint: &str) -> Sizes {
        self.run(self.store(endpoint).admin().sizes()).expect("counts")
    }

    /// Puts a message as it is into a queue.
    pub(crate) fn inject(&self, queue: &str, incoming: Incoming) {
        self.run(self.broker.publish_raw(&address(queue), incoming))
            .expect("accepted");
    }
}

/// An endpoint that runs in the background of a world.
pub(crate) struct Running {
    pub(crate) session: Session,
    pub(crate) monitor: Monitor,
    stop: Option<oneshot::Sender<()>>,
    end: oneshot::Receiver<Result<(), longhaul::Error>>,
}

impl Running {
    /// Stops it, and says how it ended.
    pub(crate) fn stop(mut self, world: &World) -> Result<(), longhaul::Error> {
        drop(self.stop.take());
        world.run(self.end).expect("the endpoint ends")
    }

    /// Waits for it to end by itself.
    pub(crate) fn end(self, world: &World) -> Result<(), longhaul::Error> {
        world.run(self.end).expect("the endpoint ends")
    }
}

pub(crate) fn address(name: &str) -> Address {
    Address::new(name).expect("a name")
}

/// A `Do` command as another endpoint would send it.
pub(crate) fn command(id: &str, what: &str) -> Envelope {
    let headers = Headers::from_iter([
        (headers::INTENT, Intent::Send.as_str()),
        (headers::TYPE, Do::NAME),
        (headers::CONTENT_TYPE, "application/json"),
        (headers::REPLY_TO, "client"),
    ]);
    let body = serde_json::to_vec(&Do {
        what: what.to_owned(),
    })
    .expect("encodes");
    Envelope::new(MessageId::new(id).expect("an id"), headers, body.into())
}

/// What handlers did, in order. Has no unique key, so that doing a thing twice shows.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Vec<String>>>);

impl Ledger {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().expect("not poisoned").push(what.into());
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }
}

/// Notes each `Do` and publishes a `Done`.
pub(crate) struct Doer(pub(crate) Ledger);

impl Handler<Do> for Doer {
    async fn handle(&self, command: Do, ctx: &mut Context) -> HandlerResult {
        self.0.note(&command.what);
        ctx.publish(Done { what: command.what });
        Ok(())
    }
}

/// Notes each `Do` and says nothing.
pub(crate) struct Noter(pub(crate) Ledger);

impl Handler<Do> for Noter {
    async fn handle(&self, command: Do, _ctx: &mut Context) -> HandlerResult {
        self.0.note(command.what);
        Ok(())
    }
}

/// Notes each `Done`.
pub(crate) struct Watcher(pub(crate) Ledger);

impl Handler<Done> for Watcher {
    async fn handle(&self, event: Done, _ctx: &mut Context) -> HandlerResult {
        self.0.note(event.what);
        Ok(())
    }
}

/// Fails as the function says, given the attempt.
pub(crate) struct Failing {
    ledger: Ledger,
    fail: fn(&str, usize) -> HandlerResult,
}

impl Failing {
    pub(crate) fn new(ledger: &Ledger, fail: fn(&str, usize) -> HandlerResult) -> Self {
        Self {
            ledger: ledger.clone(),
            fail,
        }
    }
}

impl Handler<Do> for Failing {
    async fn handle(&self, command: Do, ctx: &mut Context) -> HandlerResult {
        self.ledger.note(&command.what);
        (self.fail)(&command.what, self.ledger.len())?;
        ctx.publish(Done { what: command.what });
        Ok(())
    }
}
