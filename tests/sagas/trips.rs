//! Trips whose hotel refuses to cancel while it is closed, and their endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longhaul::endpoint::EndpointBuilder;
use longhaul::envelope::{Envelope, Intent};
use longhaul::headers::{self, Headers};
use longhaul::prelude::*;
use longhaul::sagas::control::{Action, Operate};
use longhaul::sagas::{Instance, Status};
use longhaul::store::{LoadRequest, RecordKey};
use serde::{Deserialize, Serialize};

use crate::world::{Ledger, Running, World};

macro_rules! messages {
    ($($derive:ident $name:ident = $wire:literal),+ $(,)?) => {$(
        #[derive(Debug, $derive, Serialize, Deserialize)]
        #[message($wire)]
        pub(crate) struct $name { pub(crate) trip: u64 }
    )+};
}

messages! {
    Command Plan = "trips.plan.v1",
    Command DropTrip = "trips.drop.v1",
    Command Book = "hotel.book.v1",
    Message Booked = "hotel.booked.v1",
    Command Cancel = "hotel.cancel.v1",
    Message Cancelled = "hotel.cancelled.v1",
    Message NotCancelled = "hotel.not_cancelled.v1",
    Event Dropped = "trips.dropped.v1",
}

/// Books a hotel, twice; cancels both when it is dropped.
#[derive(Serialize, Deserialize)]
pub(crate) struct Trip {
    trip: u64,
}

impl Saga for Trip {
    const NAME: &'static str = "trip";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &Plan| m.trip, Self::plan);
        saga.handles(
            |m: &DropTrip| m.trip,
            |_: &mut Self, _: DropTrip, ctx: &mut SagaContext<Self>| {
                ctx.compensate("nobody wants it");
                Ok(())
            },
        );
        saga.expects::<Booked>();
        saga.expects::<Cancelled>();
        saga.expects::<NotCancelled>();
        saga.compensated(|saga: &mut Self, ctx: &mut SagaContext<Self>| {
            ctx.publish(Dropped { trip: saga.trip });
            Ok(())
        });
        saga.compensation(CompensationPolicy {
            undo_attempts: 2,
            first_backoff: Duration::from_secs(3600),
            ..CompensationPolicy::default()
        });
        saga.keep_order();
    }
}

impl Trip {
    fn plan(plan: Plan, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let trip = plan.trip;
        for _ in 0..2 {
            ctx.send(Book { trip })
                .undo_with(Cancel { trip })
                .done_by::<Booked>()
                .undone_by::<Cancelled>();
        }
        Ok(Self { trip })
    }
}

/// Refuses to cancel while it is closed, and says nothing to bookings of trip 5.
#[derive(Clone, Default)]
pub(crate) struct Hotel {
    pub(crate) is_closed: Arc<AtomicBool>,
    did: Ledger,
}

impl Handler<Book> for Hotel {
    async fn handle(&self, book: Book, ctx: &mut Context) -> HandlerResult {
        let trip = book.trip;
        self.did.note(format!("book {trip}"));
        if trip != 5 {
            ctx.reply(Booked { trip });
        }
        Ok(())
    }
}

impl Handler<Cancel> for Hotel {
    async fn handle(&self, cancel: Cancel, ctx: &mut Context) -> HandlerResult {
        let trip = cancel.trip;
        if self.is_closed.load(Ordering::SeqCst) {
            ctx.reply(NotCancelled { trip });
        } else {
            self.did.note(format!("cancel {trip}"));
            ctx.reply(Cancelled { trip });
        }
        Ok(())
    }
}

pub(crate) struct Trips {
    pub(crate) world: World,
    pub(crate) hotel: Hotel,
    pub(crate) trips: Option<Running>,
    client: Running,
    _hotel: Running,
}

impl Trips {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let hotel = Hotel::default();
        let running = world.start(
            world
                .endpoint("hotel")
                .handler::<Book>(hotel.clone())
                .handler::<Cancel>(hotel.clone()),
        );
        let client = world.start(
            world
                .stateless("client")
                .route::<Plan>("trips")
                .route::<DropTrip>("trips"),
        );
        let mut trips = Self {
            trips: None,
            client,
            hotel,
            _hotel: running,
            world,
        };
        trips.start(SagaEndpoint::operable_saga::<Trip>);
        trips
    }

    pub(crate) fn start(&mut self, with: fn(EndpointBuilder) -> EndpointBuilder) {
        if let Some(running) = self.trips.take() {
            running.stop(&self.world).expect("stops");
        }
        let trips = with(self.world.endpoint("trips"));
        let trips = trips.route::<Book>("hotel").route::<Cancel>("hotel");
        self.trips = Some(self.world.start(trips));
    }

    /// Plans a trip, drops it and waits until its second undo has failed for good.
    pub(crate) fn stuck(&self, trip: u64) {
        self.hotel.is_closed.store(true, Ordering::SeqCst);
        self.dropped(trip);
        self.world.pass(Duration::from_secs(2 * 3600));
        assert_eq!(self.trip(trip).status, Status::Stuck);
    }

    pub(crate) fn plan(&self, trip: u64) {
        let session = &self.client.session;
        self.world.run(session.send(Plan { trip })).expect("sent");
        self.world.pass(Duration::from_secs(60));
    }

    pub(crate) fn dropped(&self, trip: u64) {
        self.plan(trip);
        let session = &self.client.session;
        self.world.run(session.send(DropTrip { trip })).expect("sent");
        self.world.pass(Duration::from_secs(60));
    }

    pub(crate) fn open(&self) {
        self.hotel.is_closed.store(false, Ordering::SeqCst);
    }

    pub(crate) fn trip(&self, trip: u64) -> Instance {
        let request = LoadRequest {
            inbox: MessageId::new("nobody").expect("an id"),
            records: vec![RecordKey::new(Instance::collection("trip"), trip.to_string())],
            pending: None,
            now: self.world.clock.now(),
        };
        let loaded = self.world.run(self.world.store("trips").load(&request));
        let record = loaded.expect("loads").records.remove(0).expect("a record");
        Instance::read(&record).expect("reads")
    }

    /// How many trips came to which status.
    pub(crate) fn statuses(&self) -> Vec<(&'static str, u64)> {
        let running = self.trips.as_ref().expect("it runs");
        let mut all = running.monitor.statuses();
        all.remove("trip").unwrap_or_default().into_iter().collect()
    }

    /// An operator's message, and time for it to be handled.
    pub(crate) fn operate(&self, id: &str, operate: &Operate) {
        self.world.inject("trips", message(id, "trip", operate).into());
        self.world.pass(Duration::from_secs(60));
    }

    /// What the error queue says of its only message.
    #[track_caller]
    pub(crate) fn refusal(&self) -> String {
        assert_eq!(self.world.browse("error").len(), 1);
        self.world.error_header(0, headers::ERROR_TEXT)
    }

    pub(crate) fn cancelled(&self) -> usize {
        let did = self.hotel.did.entries();
        did.iter().filter(|did| did.starts_with("cancel")).count()
    }
}

pub(crate) fn message(id: &str, saga: &str, operate: &Operate) -> Envelope {
    let headers = Headers::from_iter([
        (headers::INTENT, Intent::Send.as_str().to_owned()),
        (headers::TYPE, Operate::type_name(saga)),
        (headers::CONTENT_TYPE, "application/json".to_owned()),
    ]);
    let body = serde_json::to_vec(operate).expect("encodes");
    Envelope::new(MessageId::new(id).expect("an id"), headers, body.into())
}

pub(crate) fn retry_all() -> Operate {
    Operate::new("7", Action::RetryStep { step: None }, "alice")
}

pub(crate) fn skip(step: &MessageId) -> Operate {
    let step = step.clone();
    Operate::new("7", Action::SkipStep { step }, "alice").because("cancelled by phone")
}
