//! Runs the saga and the endpoints around it on a broker, while the feed plays.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressStyle};
use longhaul::clock::ManualClock;
use longhaul::endpoint::Monitor;
use longhaul::prelude::*;
use longhaul::transport::Transport;
use longhaul_testing::virtual_time::VirtualTime;
use tokio::sync::watch;

use crate::cast::Cast;
use crate::data::Data;
use crate::effects::{Ledger, count};
use crate::feed::{Feed, Outlet};
use crate::orders::Order;
use crate::pace::{PacedClock, Transit};
use crate::saga::PAY_WITHIN;
use crate::summary::Summary;

/// How long the sagas wait for messages that are under way, in real time: clocks that run faster multiply it.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same where time stands still for whatever is under way. Only what a killed run left unsent comes late.
const PATIENCE_AFTER_A_KILL: Duration = Duration::from_secs(60);
/// After so many events the position is written down.
const EVENTS: usize = 32;
/// How long, in real time, an event may be on its way before the run is given up.
const LOST: Duration = Duration::from_secs(300);
/// How long, in real time, to wait before an event is offered again to a broker that could not take it.
const PAUSE: Duration = Duration::from_millis(200);

/// How and where to run.
pub(crate) struct Plan {
    pub(crate) broker: Broker,
    pub(crate) speed: Speed,
    pub(crate) data: Option<PathBuf>,
}

/// Which broker.
pub(crate) enum Broker {
    Embedded,
    #[cfg(feature = "rabbitmq")]
    RabbitMq {
        url: String,
    },
    #[cfg(feature = "sqs")]
    Sqs {
        /// Where an emulator is, if not AWS.
        emulator: Option<String>,
    },
}

/// How fast time passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// So many times as fast as the real time.
    Times(f64),
    /// As fast as it goes: virtual time.
    Max,
}

impl Speed {
    /// Faster clocks would have the sagas wait for whatever is under way until after the century that a timeout can take.
    pub(crate) const FASTEST: f64 = 1e8;
}

/// What came out.
pub(crate) struct Report {
    pub(crate) summary: Summary,
    /// Messages that were handled, by all endpoints.
    pub(crate) messages: u64,
    /// Messages that ended in the error queue.
    pub(crate) errors: u64,
    /// Stopped before the end, by a signal.
    pub(crate) interrupted: bool,
}

/// Plays the orders and counts what was done for them.
pub(crate) fn run(orders: &[Order], plan: &Plan) -> anyhow::Result<Report> {
    let data = plan
        .data
        .as_deref()
        .map(|path| Data::open(path, orders))
        .transpose()?;
    let position = match &data {
        Some(data) => data.position()?,
        None => None,
    };
    if let Some(position) = position {
        eprintln!("continuing at {position}, where an earlier run with this data directory came to");
    }
    let patience = match plan.speed {
        Speed::Times(speed) => PATIENCE.mul_f64(speed).max(Duration::from_secs(1)),
        Speed::Max if data.is_some() => PATIENCE_AFTER_A_KILL,
        Speed::Max => Duration::ZERO,
    };
    let feed = Feed::new(orders, position);
    let Some(start) = position.or(feed.begin()) else {
        return Ok(Report {
            summary: Summary::default(),
            messages: 0,
            errors: 0,
            interrupted: false,
        });
    };
    let transit = Arc::new(Transit::new(feed.times(), patience / 2));
    let stage = Stage {
        orders,
        feed,
        transit,
        data,
        patience,
    };
    match plan.speed {
        Speed::Max => stage.run_in_virtual_time(start),
        Speed::Times(speed) => stage.run_in_real_time(plan, start, speed),
    }
}

/// What is played, and what is kept.
struct Stage<'a> {
    orders: &'a [Order],
    feed: Feed<'a>,
    transit: Arc<Transit>,
    data: Option<Data>,
    patience: Duration,
}

impl Stage<'_> {
    fn run_in_virtual_time(&self, start: Timestamp) -> anyhow::Result<Report> {
        let clock = ManualClock::starting_at(start);
        let mut time = VirtualTime::new(clock.clone());
        if let Some(data) = &self.data {
            let database = data.database().clone();
            // Time stands still for the disk.
            time = time.also_waiting_for(move || {
                database.settle();
                false
            });
        }
        let run = async {
            let broker = self.embedded(Arc::new(clock.clone()))?;
            let cast = self.cast(async || Ok(broker.clone()), &clock).await?;
            self.perform(cast, &clock, None, std::future::pending()).await
        };
        time.try_block_on(run)?
    }

    fn run_in_real_time(&self, plan: &Plan, start: Timestamp, speed: f64) -> anyhow::Result<Report> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let clock = PacedClock::starting_at(start, speed, Arc::clone(&self.transit));
            let cast = match &plan.broker {
                Broker::Embedded => {
                    let broker = self.embedded(Arc::new(clock.clone()))?;
                    self.cast(async || Ok(broker.clone()), &clock).await?
                }
                #[cfg(feature = "rabbitmq")]
                Broker::RabbitMq { url } => {
                    // Each endpoint has connections of its own, as if it were a process of its own.
                    let connect = async || {
                        Ok(RabbitMq::builder(url)
                            .clock(Arc::new(clock.clone()))
                            .connect()
                            .await?)
                    };
                    self.cast(connect, &clock).await?
                }
                #[cfg(feature = "sqs")]
                Broker::Sqs { emulator } => {
                    let connect = async || {
                        let sqs = Sqs::builder().clock(Arc::new(clock.clone()));
                        let sqs = match emulator {
                            Some(url) => sqs.emulator(url),
                            None => sqs,
                        };
                        Ok(sqs.connect().await?)
                    };
                    self.cast(connect, &clock).await?
                }
            };
            let interrupt = async {
                tokio::select! {
                    () = longhaul::stop_signal() => Ok(()),
                    error = self.lost(&clock) => Err(error),
                }
            };
            self.perform(cast, &clock, Some(PAUSE), interrupt).await
        })
    }

    fn embedded(&self, clock: Arc<dyn Clock>) -> anyhow::Result<LocalBroker> {
        Ok(match &self.data {
            Some(data) => LocalBroker::durable(data.database().clone(), clock)?,
            None => LocalBroker::in_memory(clock),
        })
    }

    /// After this nothing happens any more.
    fn end(&self) -> Timestamp {
        let ends = self.orders.iter().flat_map(|order| {
            let deadlines = [order.purchased + PAY_WITHIN, order.estimated];
            let events = [order.approved, order.shipped, order.delivered];
            deadlines.into_iter().chain(events.into_iter().flatten())
        });
        ends.max().unwrap_or(Timestamp::MIN) + self.patience + Duration::from_secs(1)
    }

    /// Puts the endpoints together.
    async fn cast<T: Transport>(
        &self,
        connect: impl AsyncFn() -> anyhow::Result<T>,
        clock: &(impl Clock + Clone),
    ) -> anyhow::Result<Cast> {
        match &self.data {
            Some(data) => {
                let store = Sled::on(data.database().clone());
                let ledger = Ledger::Disk(data.database().clone());
                Cast::new(connect, clock, &store, ledger, Arc::clone(&self.transit)).await
            }
            None => {
                // Nothing outlives this process, so there is no use in being careful about it.
                let store = Memory::pretending_durable();
                let ledger = Ledger::Memory(Arc::default());
                Cast::new(connect, clock, &store, ledger, Arc::clone(&self.transit)).await
            }
        }
    }

    /// Plays the feed to the endpoints, waits for the end, and stops them.
    async fn perform(
        &self,
        cast: Cast,
        clock: &impl Clock,
        pause: Option<Duration>,
        interrupt: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Report> {
        let Cast {
            shop,
            endpoints,
            ledger,
        } = cast;
        let monitors: Vec<_> = endpoints.iter().map(Endpoint::monitor).collect();
        let (stop, stopped) = watch::channel(false);
        let running: FuturesUnordered<_> = endpoints
            .into_iter()
            .map(|endpoint| endpoint.run_until(asked(stopped.clone())))
            .collect();
        let mut running = pin!(all(running));
        let play = async {
            let session = shop.session();
            let outlet = Outlet {
                session: &session,
                clock,
                transit: &self.transit,
                patience: self.patience,
                pause,
            };
            self.play(&outlet).await?;
            clock.sleep_until(self.end()).await;
            calm(&monitors, clock, self.patience.max(Duration::from_secs(60))).await
        };
        let interrupted = tokio::select! {
            played = play => played.map(|()| false)?,
            stopped = interrupt => stopped.map(|()| true)?,
            ended = &mut running => return Err(ended.err().unwrap_or_else(|| anyhow!("an endpoint stopped by itself"))),
        };
        stop.send_replace(true);
        running.await?;
        if let (Some(data), false) = (&self.data, interrupted) {
            data.set_position(self.end()).await?;
        }
        let stats: Vec<_> = monitors.iter().map(Monitor::stats).collect();
        Ok(Report {
            summary: count(&ledger.effects()?),
            messages: stats.iter().map(|stats| stats.handled).sum(),
            errors: stats
                .iter()
                .map(|stats| stats.moved_to_errors + stats.parked)
                .sum(),
            interrupted,
        })
    }

    async fn play(&self, outlet: &Outlet<'_>) -> anyhow::Result<()> {
        let progress = ProgressBar::new(self.feed.len() as u64);
        progress.set_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")?);
        let mut events = 0;
        let published = async |at: Timestamp| {
            progress.inc(1);
            progress.set_message(at.to_string());
            events += 1;
            match (&self.data, self.transit.position()) {
                (Some(data), Some(position)) if events % EVENTS == 0 => data.set_position(position).await,
                _ => Ok(()),
            }
        };
        self.feed.play(outlet, published).await?;
        progress.finish_and_clear();
        Ok(())
    }

    /// Resolves when time stands still for an event that does not arrive.
    async fn lost(&self, clock: &PacedClock) -> anyhow::Error {
        let mut arrived = self.transit.arrived();
        loop {
            arrived.borrow_and_update();
            if tokio::time::timeout(LOST, arrived.changed()).await.is_err() && clock.stands() {
                return anyhow!("an event does not arrive; is it in the queue marketplace.errors?");
            }
        }
    }
}

async fn asked(mut stopped: watch::Receiver<bool>) {
    // The sender is gone when nobody can ask any more.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// Resolves when all have ended, or one has failed.
async fn all(
    mut running: FuturesUnordered<impl Future<Output = Result<(), longhaul::Error>>>,
) -> anyhow::Result<()> {
    while let Some(ended) = running.next().await {
        ended?;
    }
    Ok(())
}

/// Resolves when nothing was handled and nothing sent for so long.
async fn calm(monitors: &[Monitor], clock: &impl Clock, quiet: Duration) -> anyhow::Result<()> {
    const LOOKS: usize = 60;
    let done = || -> u64 {
        let done = |monitor: &Monitor| {
            let stats = monitor.stats();
            stats.received + stats.sent + stats.send_failures
        };
        monitors.iter().map(done).sum()
    };
    let mut before = None;
    for _ in 0..LOOKS {
        let now = Some(done());
        if now == before && monitors.iter().all(|monitor| monitor.backlog() == 0) {
            return Ok(());
        }
        before = now;
        clock.sleep_until(clock.now() + quiet).await;
    }
    bail!("the endpoints did not come to rest; run it again with the same --data, if there is one, to go on");
}
