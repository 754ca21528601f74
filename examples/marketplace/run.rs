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
use longhaul::clock::{ManualClock, ScaledClock};
use longhaul::endpoint::{EndpointBuilder, Monitor, Settings};
use longhaul::prelude::*;
use longhaul::store::Persistence;
use longhaul::transport::Transport;
use longhaul_testing::virtual_time::VirtualTime;
use tokio::sync::watch;

use crate::data::Data;
use crate::effects::{Billing, Care, Ledger, Warehouse, count};
use crate::feed::Feed;
use crate::messages::{OrderCompleted, RefundPayment, ReleaseStock, ReserveStock, SendVoucher};
use crate::orders::Order;
use crate::saga::{OrderSaga, PAY_WITHIN};
use crate::summary::Summary;

/// How long the sagas wait for messages that are under way, in real time: clocks that run faster multiply it.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same where time stands still for whatever is under way. Only what a killed run left unsent comes late.
const PATIENCE_AFTER_A_KILL: Duration = Duration::from_secs(60);
/// Longer than any event can come after the order that it is for.
const REMEMBER: Duration = Duration::from_secs(100 * 366 * 86_400);
/// After so many instants the position is written down.
const INSTANTS: usize = 20;

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
    let stage = Stage {
        orders,
        feed,
        data,
        patience,
    };
    match plan.speed {
        Speed::Max => stage.run_in_virtual_time(start),
        Speed::Times(speed) => stage.run_in_real_time(plan, ScaledClock::starting_at(start, speed), speed),
    }
}

/// What is played, and what is kept.
struct Stage<'a> {
    orders: &'a [Order],
    feed: Feed<'a>,
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
            let cast = self.cast(&broker, &clock, 1.0).await?;
            self.perform(cast, &clock, std::future::pending()).await
        };
        time.try_block_on(run)?
    }

    fn run_in_real_time(&self, plan: &Plan, clock: ScaledClock, speed: f64) -> anyhow::Result<Report> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let cast = match &plan.broker {
                Broker::Embedded => self.cast(&self.embedded(Arc::new(clock))?, &clock, speed).await?,
                #[cfg(feature = "rabbitmq")]
                Broker::RabbitMq { url } => {
                    let broker = longhaul::rabbitmq::RabbitMq::builder(url)
                        .clock(Arc::new(clock))
                        .connection_name("marketplace example")
                        .connect()
                        .await?;
                    self.cast(&broker, &clock, speed).await?
                }
            };
            self.perform(cast, &clock, longhaul::stop_signal()).await
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
    async fn cast<T: Transport + Clone>(
        &self,
        broker: &T,
        clock: &(impl Clock + Clone),
        speed: f64,
    ) -> anyhow::Result<Cast> {
        match &self.data {
            Some(data) => {
                let store = Sled::on(data.database().clone());
                let ledger = Ledger::Disk(data.database().clone());
                Cast::new(broker, clock, &store, ledger, speed).await
            }
            None => {
                // Nothing outlives this process, so there is no use in being careful about it.
                let store = Memory::pretending_durable();
                Cast::new(broker, clock, &store, Ledger::Memory(Arc::default()), speed).await
            }
        }
    }

    /// Plays the feed to the endpoints, waits for the end, and stops them.
    async fn perform(
        &self,
        cast: Cast,
        clock: &impl Clock,
        interrupt: impl Future<Output = ()>,
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
            self.play(&shop, clock).await?;
            clock.sleep_until(self.end()).await;
            calm(&monitors, clock, self.patience.max(Duration::from_secs(60))).await
        };
        let interrupted = tokio::select! {
            played = play => played.map(|()| false)?,
            () = interrupt => true,
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

    async fn play(&self, shop: &Endpoint, clock: &dyn Clock) -> anyhow::Result<()> {
        let progress = ProgressBar::new(self.feed.len() as u64);
        progress.set_style(ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} events")?);
        let mut instants = 0;
        let played = async |at: Timestamp, events: usize| {
            progress.inc(events as u64);
            progress.set_message(at.to_string());
            instants += 1;
            match &self.data {
                Some(data) if instants % INSTANTS == 0 => data.set_position(at).await,
                Some(_) | None => Ok(()),
            }
        };
        self.feed
            .play(&shop.session(), clock, self.patience, played)
            .await?;
        progress.finish_and_clear();
        Ok(())
    }
}

/// The endpoints.
struct Cast {
    /// Publishes what happened. It needs no store: published again, events have the same ids.
    shop: Endpoint,
    endpoints: Vec<Endpoint>,
    ledger: Ledger,
}

impl Cast {
    async fn new<T: Transport + Clone, P: Persistence + Clone>(
        broker: &T,
        clock: &(impl Clock + Clone),
        store: &P,
        ledger: Ledger,
        speed: f64,
    ) -> anyhow::Result<Self> {
        let storeless = |name: &str| -> EndpointBuilder {
            Endpoint::builder(format!("marketplace.{name}"))
                .transport(broker.clone())
                .clock(clock.clone())
                .error_queue("marketplace.errors")
                .settings(|settings| adapt(settings, speed))
        };
        let endpoint = |name: &str| storeless(name).persistence(store.clone());
        let orders = endpoint("orders")
            .saga::<OrderSaga>()
            .route::<ReserveStock>("marketplace.warehouse")
            .route::<ReleaseStock>("marketplace.warehouse")
            .route::<RefundPayment>("marketplace.billing")
            .route::<SendVoucher>("marketplace.care");
        let warehouse = endpoint("warehouse")
            .handler::<ReserveStock>(Warehouse(ledger.clone()))
            .handler::<ReleaseStock>(Warehouse(ledger.clone()));
        let billing = endpoint("billing").handler::<RefundPayment>(Billing(ledger.clone()));
        let care = endpoint("care")
            .handler::<SendVoucher>(Care(ledger.clone()))
            .handler::<OrderCompleted>(Care(ledger.clone()));
        let mut endpoints = Vec::new();
        for builder in [orders, warehouse, billing, care] {
            endpoints.push(builder.build().await?);
        }
        let shop = storeless("shop").build().await?;
        Ok(Self {
            shop,
            endpoints,
            ledger,
        })
    }
}

/// The limits of endpoints and their brokers are about real time, which is so many times as slow as theirs.
fn adapt(settings: &mut Settings, speed: f64) {
    let limits = [
        &mut settings.grace,
        &mut settings.handler_limit,
        &mut settings.call_limit,
        &mut settings.stop_limit,
        &mut settings.poll_interval,
        &mut settings.purge_interval,
    ];
    for limit in limits {
        *limit = limit.mul_f64(speed.max(1.0));
    }
    // Years pass in minutes: what is rare in real time must not happen all the time.
    settings.purge_interval = settings.purge_interval.max(Duration::from_secs(30 * 86_400));
    settings.retention = REMEMBER;
    // An order that an event is for comes at most seconds later, but how many of this clock's seconds that is?
    settings.not_yet_rounds = 30;
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
