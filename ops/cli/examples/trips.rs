//! An endpoint on an embedded directory that listens for operators, as the tests of the command run it: `trips DIRECTORY`.
//!
//! Its hotel refuses to cancel a booking while the file `DIRECTORY.closed` is there, so that trips that are dropped get stuck.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use longhaul::host::{Host, HostError};
use longhaul::prelude::*;
use longhaul::socket::Socket;
use serde::{Deserialize, Serialize};

macro_rules! messages {
    ($($derive:ident $name:ident = $wire:literal),+ $(,)?) => {$(
        #[derive(Debug, Clone, Copy, $derive, Serialize, Deserialize)]
        #[message($wire)]
        struct $name { trip: u64 }
    )+};
}

messages! {
    Command Plan = "trips.plan.v1",
    Command Rename = "trips.rename.v1",
    Command DropTrip = "trips.drop.v1",
    Command Book = "hotel.book.v1",
    Message Booked = "hotel.booked.v1",
    Command Cancel = "hotel.cancel.v1",
    Message Cancelled = "hotel.cancelled.v1",
    Message NotCancelled = "hotel.not_cancelled.v1",
}

/// Books a hotel, and cancels it when the trip is dropped. Trip 13 can't be renamed.
#[derive(Serialize, Deserialize)]
struct Trip {
    trip: u64,
    renamed: u32,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Due {
    Departure,
}

impl Saga for Trip {
    const NAME: &'static str = "trip";
    type Id = u64;
    type Timeout = Due;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &Plan| m.trip, Self::plan);
        saga.handles(|m: &Rename| m.trip, Self::rename);
        saga.handles(|m: &DropTrip| m.trip, Self::give_up);
        saga.expects::<Booked>();
        saga.expects::<Cancelled>();
        saga.expects::<NotCancelled>();
        saga.times_out(Self::on_due);
        saga.compensation(CompensationPolicy {
            undo_attempts: 1,
            ..CompensationPolicy::default()
        });
        saga.keep_order();
    }
}

impl Trip {
    fn plan(plan: Plan, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let trip = plan.trip;
        ctx.send(Book { trip })
            .undo_with(Cancel { trip })
            .done_by::<Booked>()
            .undone_by::<Cancelled>();
        ctx.request_timeout(Duration::from_secs(86_400), Due::Departure);
        Ok(Self { trip, renamed: 0 })
    }

    fn rename(&mut self, _: Rename, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.renamed += 1;
        if self.trip == 13 && ctx.header("longhaul.replay").is_none() && self.renamed == 1 {
            return Err(HandlerError::permanent("rename the trip 13: it brings bad luck"));
        }
        Ok(())
    }

    fn give_up(&mut self, _: DropTrip, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.compensate("nobody wants it");
        Ok(())
    }

    fn on_due(&mut self, due: Due, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match due {
            Due::Departure => ctx.complete(),
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Hotel {
    closed: PathBuf,
}

impl Handler<Book> for Hotel {
    async fn handle(&self, book: Book, ctx: &mut Context) -> HandlerResult {
        ctx.reply(Booked { trip: book.trip });
        Ok(())
    }
}

impl Handler<Cancel> for Hotel {
    async fn handle(&self, cancel: Cancel, ctx: &mut Context) -> HandlerResult {
        let trip = cancel.trip;
        if self.closed.exists() {
            ctx.reply(NotCancelled { trip });
        } else {
            ctx.reply(Cancelled { trip });
        }
        Ok(())
    }
}

async fn run() -> Result<(), HostError> {
    let host = Host::from_environment()?;
    let data = std::env::args_os().nth(1).unwrap_or_default();
    let data = PathBuf::from(data);
    let database = Database::open(&data).map_err(|error| HostError::other(&error))?;
    let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock));
    let broker = broker.map_err(|error| HostError::other(&error))?;
    let stores = Sled::on(database.clone());
    let socket = Socket::listen(&database, &broker, &stores).map_err(|error| HostError::other(&error))?;
    let hotel = Hotel {
        closed: data.with_extension("closed"),
    };
    let trips = Endpoint::builder("trips")
        .transport(broker)
        .persistence(stores)
        .operable_saga::<Trip>()
        .operable_order()
        .handler::<Book>(hotel.clone())
        .handler::<Cancel>(hotel);
    let ran = host.run(trips).await;
    drop(socket);
    ran
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
