//! One process of the shop: the endpoints in it, until its standard input ends.

use std::fs;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, future};
use longhaul::embedded::Options as DatabaseOptions;
use longhaul::endpoint::EndpointBuilder;
use longhaul::prelude::*;
use longhaul::rabbitmq::RabbitMq;
use longhaul::sagas::SagaEndpoint;
use longhaul::sled::Sled;
use longhaul::sqs::{Sqs, Timing};
use longhaul::transport::Transport;
use tokio::process::Command;
use tokio::sync::watch;

use crate::kill::accounts::{Books, Progress};
use crate::kill::billing::Billing;
use crate::kill::folder::Folder;
use crate::kill::messages::{
    ChargeCard, OrderCancelled, OrderCompleted, PlaceOrder, RecallParcel, RefundCard, ShipOrder,
};
use crate::kill::placing;
use crate::kill::sales::OrderSaga;
use crate::kill::shipping::{Desk, Shipping};

/// As large a value as the store takes when it opens a database itself.
const VALUE_BYTES: usize = 4 << 20;

/// What a process of the shop is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProcessOptions {
    /// Which part of the shop it is
    #[arg(long, value_enum)]
    pub(crate) part: Part,
    /// What the process is called
    #[arg(long)]
    pub(crate) name: String,
    /// The folder of the run
    #[arg(long)]
    pub(crate) folder: std::path::PathBuf,
    /// What the names of all queues begin with
    #[arg(long, default_value = "")]
    pub(crate) tag: String,
    /// How many orders there are
    #[arg(long)]
    pub(crate) orders: u64,
}

/// A part of the shop that runs as a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// All endpoints and the embedded broker
    All,
    /// The saga
    Sales,
    /// Storeless, by any number of processes
    Billing,
    /// A handler and state
    Shipping,
    /// State
    Accounts,
    /// Places the orders
    Client,
}

impl Part {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Sales => "sales",
            Self::Billing => "billing",
            Self::Shipping => "shipping",
            Self::Accounts => "accounts",
            Self::Client => "client",
        }
    }
}

/// The name of an endpoint, which is that of its queue.
pub(crate) fn endpoint_name(tag: &str, part: Part) -> String {
    format!("{tag}{}", part.as_str())
}

/// Where the broker of a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// In the process of the endpoints.
    Embedded,
    /// At this URL.
    RabbitMq(String),
    /// At this address, of an emulator.
    Sqs(String),
}

/// How long a message stays invisible, so that what a killed process held comes again soon.
const VISIBILITY: Duration = Duration::from_secs(5);

impl At {
    const RABBITMQ: &'static str = "LONGHAUL_AMQP_URL";
    const SQS: &'static str = "LONGHAUL_SQS_ENDPOINT";

    /// What a process of the run was told.
    fn told() -> anyhow::Result<Self> {
        let set = |name| std::env::var(name).ok();
        match (set(Self::SQS), set(Self::RABBITMQ)) {
            (Some(url), _) => Ok(Self::Sqs(url)),
            (None, Some(url)) => Ok(Self::RabbitMq(url)),
            (None, None) => bail!("{} or {} is not set", Self::SQS, Self::RABBITMQ),
        }
    }

    /// Tells a process of the run.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.env_remove(Self::SQS).env_remove(Self::RABBITMQ);
        match self {
            Self::Embedded => {}
            Self::RabbitMq(url) => drop(command.env(Self::RABBITMQ, url)),
            Self::Sqs(url) => {
                command.env(Self::SQS, url);
            }
        }
    }

    /// How long to wait for what may still come when every order has an outcome.
    pub(crate) fn quiet(&self) -> Duration {
        match self {
            // What a killed process had committed, its successor looks at only when it is five seconds old.
            Self::Embedded | Self::RabbitMq(_) => Duration::from_secs(8),
            // A message whose settlement was lost comes again when it gets visible.
            Self::Sqs(_) => VISIBILITY * 3,
        }
    }
}

/// Connects to the emulator as the processes of a run do.
pub(crate) async fn connect_sqs(url: &str) -> anyhow::Result<Sqs> {
    let mut timing = Timing::default();
    timing.lease = VISIBILITY;
    timing.wait = Duration::from_secs(2);
    // The next process does not wait for long for the tag of one that was killed.
    timing.tag = Duration::from_secs(3);
    let builder = Sqs::builder().emulator(url).timing(timing);
    Ok(builder.connect().await?)
}

/// Connects as the processes of the run with that tag do.
pub(crate) async fn connect(url: &str, tag: &str, name: &str) -> anyhow::Result<RabbitMq> {
    let builder = RabbitMq::builder(url).connection_name(format!("kill {name}"));
    Ok(builder.prefix(format!("{tag}longhaul")).connect().await?)
}

/// Opens the database that the embedded broker and all stores of a process share.
pub(crate) fn open_database(folder: &Folder, name: &str) -> anyhow::Result<Database> {
    let options = DatabaseOptions::new().max_value_bytes(VALUE_BYTES);
    let path = folder.database(name);
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    Ok(Database::open_with(path, options)?)
}

/// Runs one process of the shop.
pub(crate) fn run(options: ProcessOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let stop = end_of_input();
    runtime.block_on(async move {
        let process = Process {
            folder: Folder::new(&options.folder),
            options,
            stop,
        };
        match process.options.part {
            Part::All => process.run_all().await,
            Part::Client => process.run_client().await,
            part => process.run_part(part).await,
        }
    })
}

struct Process {
    folder: Folder,
    options: ProcessOptions,
    stop: watch::Receiver<bool>,
}

impl Process {
    async fn run_all(&self) -> anyhow::Result<()> {
        let database = open_database(&self.folder, &self.options.name)?;
        let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock))?;
        let sled = Sled::on(database);
        let mut running: Vec<BoxFuture<'static, anyhow::Result<()>>> = Vec::new();
        for part in [Part::Sales, Part::Billing, Part::Shipping, Part::Accounts] {
            let builder = self.builder(part, broker.clone())?;
            let builder = if part == Part::Billing {
                builder
            } else {
                builder.persistence(sled.clone())
            };
            running.push(self.start(builder.build().await?));
        }
        let client = self
            .builder(Part::Client, broker)?
            .persistence(sled)
            .build()
            .await?;
        let session = client.session();
        running.push(self.start(client));
        fs::write(self.folder.ready(&self.options.name), "")?;
        let place = placing::place(&session, &self.folder, &self.options);
        let stopped = stopped(self.stop.clone());
        tokio::select! {
            placed = place => placed?,
            () = stopped => {}
        }
        // Handlers answer to each other: all endpoints stop at the same time.
        for ended in future::join_all(running).await {
            ended?;
        }
        Ok(())
    }

    /// A task of its own: endpoints that share one would share one core.
    fn start(&self, endpoint: Endpoint) -> BoxFuture<'static, anyhow::Result<()>> {
        let task = tokio::spawn(endpoint.run_until(stopped(self.stop.clone())));
        async move { Ok(task.await??) }.boxed()
    }

    async fn run_client(&self) -> anyhow::Result<()> {
        let client = self.connected(Part::Client).await?.build().await?;
        fs::write(self.folder.ready(&self.options.name), "")?;
        let place = async {
            placing::place(&client.session(), &self.folder, &self.options).await?;
            stopped(self.stop.clone()).await;
            anyhow::Ok(())
        };
        tokio::select! {
            placed = place => placed,
            () = stopped(self.stop.clone()) => Ok(()),
        }
    }

    async fn run_part(&self, part: Part) -> anyhow::Result<()> {
        let mut builder = self.connected(part).await?;
        if part != Part::Billing {
            builder = builder.persistence(Sled::on(open_database(&self.folder, &self.options.name)?));
        }
        let endpoint = builder.build().await?;
        fs::write(self.folder.ready(&self.options.name), "")?;
        Ok(endpoint.run_until(stopped(self.stop.clone())).await?)
    }

    async fn connected(&self, part: Part) -> anyhow::Result<EndpointBuilder> {
        match At::told()? {
            At::Embedded => bail!("this part needs a broker of its own"),
            At::RabbitMq(url) => {
                let broker = connect(&url, &self.options.tag, &self.options.name).await?;
                self.builder(part, broker)
            }
            At::Sqs(url) => self.builder(part, connect_sqs(&url).await?),
        }
    }

    fn builder(&self, part: Part, broker: impl Transport) -> anyhow::Result<EndpointBuilder> {
        let tag = &self.options.tag;
        let name = |part| endpoint_name(tag, part);
        let builder = Endpoint::builder(name(part))
            .transport(broker)
            .error_queue(format!("{tag}errors"));
        Ok(match part {
            Part::All | Part::Client => builder.route::<PlaceOrder>(name(Part::Sales)),
            Part::Sales => builder
                .saga::<OrderSaga>()
                .route::<ChargeCard>(name(Part::Billing))
                .route::<RefundCard>(name(Part::Billing))
                .route::<ShipOrder>(name(Part::Shipping))
                .route::<RecallParcel>(name(Part::Shipping)),
            Part::Billing => builder
                .idempotent_handler::<ChargeCard>(Billing::open(&self.folder)?)
                .idempotent_handler::<RefundCard>(Billing::open(&self.folder)?),
            Part::Shipping => builder
                .handler::<ShipOrder>(Shipping::open(&self.folder)?)
                .handler::<RecallParcel>(Shipping::open(&self.folder)?)
                .stateful(Desk),
            Part::Accounts => builder
                .handler::<OrderCompleted>(Progress::open(&self.folder)?)
                .handler::<OrderCancelled>(Progress::open(&self.folder)?)
                .stateful(Books),
        })
    }
}

/// Turns true when standard input ends: whoever started this process asks it to stop, or is gone.
fn end_of_input() -> watch::Receiver<bool> {
    let (ended, end) = watch::channel(false);
    // A thread of its own, since the runtime would wait for a read that never returns.
    std::thread::spawn(move || {
        let read = std::io::stdin().read_to_end(&mut Vec::new());
        drop(read);
        ended.send_replace(true);
    });
    end
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error says that the thread that reads is gone, and with it whoever could ask.
    drop(stop.wait_for(|stop| *stop).await);
}
