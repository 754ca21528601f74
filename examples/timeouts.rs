//! Timeouts of a second and of ten years: asked for, moved, cancelled, fired. On virtual time, so ten years take no time.
//!
//! `cargo run --example timeouts`

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use longhaul::clock::ManualClock;
use longhaul::prelude::*;
use longhaul::sagas::TimeoutId;
use longhaul_testing::virtual_time::VirtualTime;
use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Event, Serialize, Deserialize)]
#[message("garage.car_bought.v1")]
struct CarBought {
    car: String,
}

#[derive(Event, Serialize, Deserialize)]
#[message("garage.car_serviced.v1")]
struct CarServiced {
    car: String,
}

#[derive(Command, Serialize, Deserialize)]
#[message("garage.remind.v1")]
struct Remind {
    what: String,
}

/// Reminds of a service after a year without one, and of the end of the guarantee after ten.
#[derive(Serialize, Deserialize)]
struct Guarantee {
    car: String,
    service: TimeoutId,
}

/// A saga's timeouts are its own business: a private enum, matched exhaustively.
#[derive(Serialize, Deserialize)]
enum Reminder {
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
    fn start(bought: CarBought, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        ctx.request_timeout(3652 * DAY, Reminder::GuaranteeEnds);
        let service = ctx.request_timeout(365 * DAY, Reminder::Service);
        Ok(Self {
            car: bought.car,
            service,
        })
    }

    fn on_serviced(&mut self, _: CarServiced, ctx: &mut SagaContext<Self>) -> HandlerResult {
        // The alarm that the broker already holds becomes stale, and does nothing when it comes.
        ctx.move_timeout(&self.service, 365 * DAY);
        Ok(())
    }

    fn on_reminder(&mut self, reminder: Reminder, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match reminder {
            Reminder::Service => {
                ctx.send(Remind {
                    what: format!("{}: service", self.car),
                });
            }
            Reminder::GuaranteeEnds => {
                ctx.send(Remind {
                    what: format!("{}: the guarantee ends", self.car),
                });
                ctx.complete();
            }
        }
        Ok(())
    }
}

/// Prints reminders with the time at which they come.
struct Printer;

impl Handler<Remind> for Printer {
    async fn handle(&self, remind: Remind, ctx: &mut Context) -> HandlerResult {
        println!("{}  {}", &ctx.now().to_string()[..10], remind.what);
        Ok(())
    }
}

fn main() -> Result<()> {
    let clock = ManualClock::starting_at(Timestamp::parse("2026-01-01T00:00:00Z")?);
    let time = VirtualTime::new(clock.clone());
    time.block_on(async {
        let garage = Endpoint::builder("garage")
            .transport(LocalBroker::in_memory(Arc::new(clock.clone())))
            .persistence(Memory::pretending_durable())
            .clock(clock.clone())
            .saga::<Guarantee>()
            .handler::<Remind>(Printer)
            .build()
            .await?;
        let session = garage.session();
        let story = async {
            let wait = |days: u32| clock.sleep_until(clock.now() + days * DAY);
            session.publish(CarBought { car: "red".into() }).await?;
            session.publish(CarBought { car: "blue".into() }).await?;
            wait(300).await;
            session.publish(CarServiced { car: "blue".into() }).await?;
            println!("{}  (the blue car was serviced)", &clock.now().to_string()[..10]);
            wait(3653).await;
            Ok::<(), longhaul::Error>(())
        };
        let (told, tell) = tokio::sync::oneshot::channel();
        let run = garage.run_until(async { drop(tell.await) });
        let (ran, story) = tokio::join!(run, async {
            let story = story.await;
            told.send(()).ok();
            story
        });
        story?;
        ran?;
        Ok(())
    })
}
