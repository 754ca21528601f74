//! Timeouts of a second and of ten years: asked for, moved, cancelled, fired. On virtual time, so ten years take no time.
//!
//! `cargo run --example timeouts`; with `-- --diagrams` it also draws the saga, and what one car went through.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use longhaul::address::Address;
use longhaul::clock::ManualClock;
use longhaul::prelude::*;
use longhaul::sagas::{Description, Instance, TimeoutId};
use longhaul::store::Persistence;
use longhaul_testing::virtual_time::VirtualTime;
use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Event, Serialize, Deserialize)]
#[message("garage.car_bought.v1")]
pub(crate) struct CarBought {
    pub(crate) car: String,
}

#[derive(Event, Serialize, Deserialize)]
#[message("garage.car_serviced.v1")]
pub(crate) struct CarServiced {
    pub(crate) car: String,
}

#[derive(Command, Serialize, Deserialize)]
#[message("garage.remind.v1")]
pub(crate) struct Remind {
    pub(crate) what: String,
}

/// Reminds of a service after a year without one, and of the end of the guarantee after ten.
#[derive(Serialize, Deserialize)]
pub(crate) struct Guarantee {
    car: String,
    service: TimeoutId,
}

/// A saga's timeouts are its own business: a private enum, matched exhaustively.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Reminder {
    Service,
    GuaranteeEnds,
}

impl Saga for Guarantee {
    const NAME: &'static str = "guarantee";
    type Id = String;
    type Timeout = Reminder;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &CarBought| m.car.clone(), Self::start);
        saga.handles(|m: &CarServiced| m.car.clone(), Self::on_serviced);
        saga.times_out(Self::on_reminder);
    }
}

impl Guarantee {
    fn start(CarBought { car }: CarBought, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        ctx.request_timeout(3652 * DAY, Reminder::GuaranteeEnds);
        let service = ctx.request_timeout(365 * DAY, Reminder::Service);
        Ok(Self { car, service })
    }

    fn on_serviced(&mut self, _: CarServiced, ctx: &mut SagaContext<Self>) -> HandlerResult {
        // The alarm that the broker already holds becomes stale, and does nothing when it comes.
        ctx.move_timeout(&self.service, 365 * DAY);
        Ok(())
    }

    fn on_reminder(&mut self, reminder: Reminder, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let what = match reminder {
            Reminder::Service => "service",
            Reminder::GuaranteeEnds => "the guarantee ends",
        };
        let what = format!("{}: {what}", self.car);
        ctx.send(Remind { what });
        if matches!(reminder, Reminder::GuaranteeEnds) {
            // Timeouts that are still to come are cancelled with it.
            ctx.complete();
        }
        Ok(())
    }
}

/// Prints reminders with the time at which they come.
pub(crate) struct Printer;

impl Handler<Remind> for Printer {
    async fn handle(&self, remind: Remind, ctx: &mut Context) -> HandlerResult {
        println!("{}  {}", &ctx.now().to_string()[..10], remind.what);
        Ok(())
    }
}

async fn tell(session: &Session, clock: &ManualClock) -> Result<()> {
    let wait = |days: u32| clock.sleep_until(clock.now() + days * DAY);
    session.publish(CarBought { car: "red".into() }).await?;
    clock.sleep_until(clock.now() + Duration::from_secs(60)).await;
    session.publish(CarBought { car: "blue".into() }).await?;
    wait(300).await;
    session.publish(CarServiced { car: "blue".into() }).await?;
    println!("{}  (the blue car was serviced)", &clock.now().to_string()[..10]);
    wait(3653).await;
    Ok(())
}

/// Draws the saga's table for Mermaid and for Graphviz, and the history of the red car as a sequence diagram.
async fn draw(store: &Memory) -> Result<()> {
    let table = Description::of::<Guarantee>();
    println!("\n{}\n{}", table.to_mermaid(), table.to_graphviz());
    let store = store.open(&Address::new("garage")?).await?;
    let records = store
        .admin()
        .records(&Instance::collection("guarantee"), None, 10)
        .await?;
    for record in records.iter().filter(|record| &*record.key.id == "red") {
        println!("{}", Instance::read(record)?.history.to_mermaid("the red car"));
    }
    Ok(())
}

fn main() -> Result<()> {
    let diagrams = std::env::args().any(|argument| argument == "--diagrams");
    let store = Memory::pretending_durable();
    let clock = ManualClock::starting_at(Timestamp::parse("2026-01-01T00:00:00Z")?);
    let garage = Endpoint::builder("garage")
        .transport(LocalBroker::in_memory(Arc::new(clock.clone())))
        .persistence(store.clone())
        .clock(clock.clone())
        // Not every ten minutes: there are half a million of these in ten years.
        .settings(|settings| settings.purge_interval = 30 * DAY)
        // What the red car went through is looked at when it is long over.
        .retention(4000 * DAY)
        .saga::<Guarantee>()
        .handler::<Remind>(Printer);
    // Whenever nothing can run, virtual time jumps to what happens next.
    VirtualTime::new(clock.clone()).block_on(async {
        let garage = garage.build().await?;
        let session = garage.session();
        let mut told = Ok(());
        garage
            .run_until(async { told = tell(&session, &clock).await })
            .await?;
        told?;
        if diagrams { draw(&store).await } else { Ok(()) }
    })
}
