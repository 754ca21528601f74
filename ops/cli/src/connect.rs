//! The broker that the settings name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul_core::address::Address;
use longhaul_core::admin::QueueAdmin;
use longhaul_core::claim_check::{BodyStore, ClaimCheck};
use longhaul_core::clock::SystemClock;
use longhaul_core::store::Persistence;
use longhaul_core::transport::{Transport, TransportErrorKind};
use longhaul_embedded::{Database, OpenError, OpenErrorKind, Options};
use longhaul_local::{LocalBroker, LocalOptions};
use longhaul_ops::errors::ErrorQueue;
use longhaul_ops::stored::StoredState;
use longhaul_rabbitmq::RabbitMq;
use longhaul_sagas::Instance;
use longhaul_sled::Sled;
#[cfg(unix)]
use longhaul_socket::{Remote, SocketErrorKind};

use crate::args::{BrokerName, Connection};
use crate::config::{self, RabbitSettings, SqsSettings};
use crate::failure::Failure;

/// What every directory of an embedded database holds.
const FORMAT: &str = "longhaul.format";

/// What is said where a bucket is named in vain.
pub(crate) const WITHOUT_S3: &str = "this `longhaul` was built without S3: build it with the feature `s3`";

/// The largest body that is passed on in an embedded directory.
const BODY_BYTES: usize = 64 << 20;

/// A broker, and what is set up about it.
pub(crate) struct System {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) admin: Arc<dyn QueueAdmin>,
    pub(crate) error_queue: Address,
    rabbit: Option<Arc<RabbitMq>>,
    /// What endpoints have stored, where that can be looked at.
    stores: Option<Box<dyn Persistence>>,
    database: Option<Database>,
    /// Whether the broker is the embedded one.
    is_embedded: bool,
    /// The directory in which endpoints on this broker may have their store.
    beside: Option<PathBuf>,
    /// Where AWS is, for buckets.
    #[cfg_attr(
        not(feature = "s3"),
        expect(dead_code, reason = "buckets are read with the feature `s3`")
    )]
    aws: SqsSettings,
}

impl System {
    /// Connects to what the settings name.
    pub(crate) async fn connect(connection: &Connection) -> Result<Self, Failure> {
        let settings = config::load(connection)?;
        let name = settings.error_queue.as_deref().unwrap_or("error");
        let error_queue = Address::new(name).map_err(|error| Failure::misused(error.to_string()))?;
        let connected = match settings.which(connection)? {
            BrokerName::Rabbitmq => Self::rabbitmq(&settings.rabbitmq, error_queue).await,
            BrokerName::Embedded => {
                let directory = settings.embedded.directory.as_deref().ok_or_else(|| {
                    Failure::misused("the directory of the embedded broker is not set: give --data DIRECTORY")
                })?;
                Self::embedded(directory, error_queue).await
            }
            BrokerName::Sqs => Self::sqs(&settings.sqs, error_queue).await,
        };
        Ok(Self {
            aws: settings.sqs,
            beside: settings.embedded.directory,
            ..connected?
        })
    }

    /// The same, with the embedded store of endpoints that are on another broker, where its directory is set: the directory itself, or
    /// over the socket of the process that has it open.
    pub(crate) async fn connect_with_store(connection: &Connection) -> Result<Self, Failure> {
        let mut system = Self::connect(connection).await?;
        if system.stores.is_none()
            && let Some(directory) = system.beside.take()
        {
            match open_database(&directory)? {
                Ok(database) => {
                    system.stores = Some(Box::new(Sled::on(database.clone())));
                    system.database = Some(database);
                }
                Err(error) if error.kind() == OpenErrorKind::InUse => {
                    system.stores = Some(remote(&directory, &error).await?);
                }
                Err(error) => return Err(Failure::failed(error)),
            }
        }
        Ok(system)
    }

    async fn rabbitmq(settings: &RabbitSettings, error_queue: Address) -> Result<Self, Failure> {
        let rabbit = Arc::new(rabbitmq(settings).await?);
        Ok(Self {
            transport: Arc::clone(&rabbit) as Arc<dyn Transport>,
            admin: Arc::clone(&rabbit) as Arc<dyn QueueAdmin>,
            error_queue,
            rabbit: Some(rabbit),
            stores: None,
            database: None,
            is_embedded: false,
            beside: None,
            aws: SqsSettings::default(),
        })
    }

    async fn embedded(directory: &Path, error_queue: Address) -> Result<Self, Failure> {
        let database = match open_database(directory)? {
            Ok(database) => database,
            Err(error) if error.kind() == OpenErrorKind::InUse => {
                return Self::running(directory, error_queue, &error).await;
            }
            Err(error) => return Err(Failure::failed(error)),
        };
        // Whatever an endpoint took can be replayed.
        let options = LocalOptions::default()
            .max_body(BODY_BYTES)
            .max_queue_length(usize::MAX)
            .max_queue_bytes(usize::MAX);
        let broker = LocalBroker::durable_with(database.clone(), Arc::new(SystemClock), options)?;
        Ok(Self {
            transport: Arc::new(broker.clone()),
            admin: Arc::new(broker),
            error_queue,
            rabbit: None,
            stores: Some(Box::new(Sled::on(database.clone()))),
            database: Some(database),
            is_embedded: true,
            beside: None,
            aws: SqsSettings::default(),
        })
    }

    /// The process that has the directory open, over its socket.
    #[cfg(unix)]
    async fn running(directory: &Path, error_queue: Address, in_use: &OpenError) -> Result<Self, Failure> {
        let remote = reach(directory, in_use).await?;
        Ok(Self {
            transport: Arc::new(remote.clone()),
            stores: Some(Box::new(remote.stores())),
            admin: Arc::new(remote),
            error_queue,
            rabbit: None,
            database: None,
            is_embedded: true,
            beside: None,
            aws: SqsSettings::default(),
        })
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_async, reason = "on Unix it waits")]
    async fn running(_: &Path, _: Address, in_use: &OpenError) -> Result<Self, Failure> {
        Err(Failure::failed(in_use))
    }

    #[cfg(feature = "sqs")]
    async fn sqs(settings: &SqsSettings, error_queue: Address) -> Result<Self, Failure> {
        let sqs = Arc::new(sqs(settings)?.connect().await?);
        Ok(Self {
            transport: Arc::clone(&sqs) as Arc<dyn Transport>,
            admin: sqs,
            error_queue,
            rabbit: None,
            stores: None,
            database: None,
            is_embedded: false,
            beside: None,
            aws: SqsSettings::default(),
        })
    }

    #[cfg(not(feature = "sqs"))]
    #[expect(clippy::unused_async, reason = "with SQS it waits")]
    async fn sqs(_: &SqsSettings, _: Address) -> Result<Self, Failure> {
        Err(Failure::misused(
            "this `longhaul` was built without SQS: build it with the feature `sqs`",
        ))
    }

    /// What an endpoint has stored in the embedded directory.
    pub(crate) async fn stored(&self, endpoint: &str) -> Result<StoredState, Failure> {
        let Some(stores) = &self.stores else {
            return Err(Failure::misused(
                "only the store in an embedded directory can be looked at: give --data DIRECTORY",
            ));
        };
        let name = Address::new(endpoint).map_err(|error| Failure::misused(error.to_string()))?;
        // Opening would make one.
        if stores.has(&name).await.map_err(Failure::failed)? == Some(false) {
            // An endpoint on the embedded broker has a queue of its name, though it may have stored nothing yet.
            let depth = self.admin.depth(&name).await;
            let missing = depth.is_err_and(|error| error.kind() == TransportErrorKind::Topology);
            if missing || !self.is_embedded {
                let text = format!(
                    "find the endpoint {endpoint} in this directory: it has no queue of that name, and has stored nothing there; \
                     of an endpoint on another broker name that too, with --broker"
                );
                return Err(Failure::failed(text));
            }
        }
        let store = stores.open(&name).await.map_err(Failure::failed)?;
        Ok(StoredState::new(store, Arc::new(SystemClock)))
    }

    /// An instance of a saga as it is stored, where that can be looked at from here. What is told to its endpoint does not depend on
    /// it: of an endpoint on another broker, a directory that holds nothing of it, or can't be opened, is as good as none. Nothing is
    /// held open meanwhile, since somebody may be asked and the endpoint may start.
    pub(crate) async fn instance(
        &self,
        endpoint: &str,
        saga: &str,
        id: &str,
    ) -> Result<Option<Instance>, Failure> {
        if self.stores.is_some() {
            let stored = self.stored(endpoint).await?;
            return Ok(Some(stored.saga(saga, id).await?));
        }
        let Some(directory) = &self.beside else {
            return Ok(None);
        };
        let name = Address::new(endpoint).map_err(|error| Failure::misused(error.to_string()))?;
        let (stores, database): (Box<dyn Persistence>, _) = match open_database(directory) {
            Ok(Ok(database)) => (Box::new(Sled::on(database.clone())), Some(database)),
            Ok(Err(error)) if error.kind() == OpenErrorKind::InUse => match remote(directory, &error).await {
                Ok(remote) => (remote, None),
                Err(_) => return Ok(None),
            },
            Ok(Err(_)) | Err(_) => return Ok(None),
        };
        let looked = look(&*stores, &name, saga, id).await;
        drop(stores);
        if let Some(database) = database {
            database.close().map_err(Failure::failed)?;
        }
        looked
    }

    /// Whether a process has the directory open, and is asked over its socket.
    pub(crate) const fn is_running(&self) -> bool {
        self.stores.is_some() && self.database.is_none()
    }

    /// Bodies in a bucket of S3.
    #[cfg(feature = "s3")]
    pub(crate) async fn bucket(
        &self,
        name: &str,
        prefix: Option<&str>,
    ) -> Result<Arc<dyn BodyStore>, Failure> {
        let bodies = sqs(&self.aws)?.connect().await?.bodies(name);
        Ok(match prefix {
            Some(prefix) => Arc::new(bodies.prefix(prefix)),
            None => Arc::new(bodies),
        })
    }

    #[cfg(not(feature = "s3"))]
    #[expect(clippy::unused_async, reason = "with S3 it waits")]
    pub(crate) async fn bucket(&self, _: &str, _: Option<&str>) -> Result<Arc<dyn BodyStore>, Failure> {
        Err(Failure::misused(WITHOUT_S3))
    }

    /// RabbitMQ, where that is the broker.
    pub(crate) fn rabbit(&self) -> Option<&RabbitMq> {
        self.rabbit.as_deref()
    }

    /// The error queue and what can be done about it.
    pub(crate) fn errors(&self) -> ErrorQueue {
        ErrorQueue::new(
            Arc::clone(&self.transport),
            Arc::clone(&self.admin),
            self.error_queue.clone(),
            Arc::new(SystemClock),
        )
    }

    /// The same, with the place where the claim check keeps large bodies.
    pub(crate) fn errors_with(&self, bodies: Option<Arc<dyn BodyStore>>) -> ErrorQueue {
        let Some(bodies) = bodies else {
            return self.errors();
        };
        let transport = ClaimCheck::new(Arc::clone(&self.transport), Arc::clone(&bodies)).most(BODY_BYTES);
        let errors = ErrorQueue::new(
            Arc::new(transport),
            Arc::clone(&self.admin),
            self.error_queue.clone(),
            Arc::new(SystemClock),
        );
        errors.with_bodies(bodies)
    }

    /// Ends it in good order.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        drop((self.transport, self.admin, self.stores));
        if let Some(rabbit) = self.rabbit {
            rabbit.close().await;
        }
        match self.database {
            Some(database) => database.close().map_err(Failure::failed),
            None => Ok(()),
        }
    }
}

/// The process that has the directory open, over its socket.
#[cfg(unix)]
async fn reach(directory: &Path, in_use: &OpenError) -> Result<Remote, Failure> {
    match Remote::connect(directory).await {
        Ok(remote) => Ok(remote),
        Err(error) if error.kind() == SocketErrorKind::Absent => Err(Failure::failed(format!(
            "{in_use}. That process does not listen for operators either: it does with `Socket::listen`"
        ))),
        Err(error) => Err(Failure::failed(error)),
    }
}

/// What the process that has the directory open has stored there.
#[cfg(unix)]
async fn remote(directory: &Path, in_use: &OpenError) -> Result<Box<dyn Persistence>, Failure> {
    let remote = reach(directory, in_use).await?;
    Ok(Box::new(remote.stores()))
}

#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "on Unix it waits")]
async fn remote(_: &Path, in_use: &OpenError) -> Result<Box<dyn Persistence>, Failure> {
    Err(Failure::failed(in_use))
}

/// An instance of an endpoint's saga; `None` where nothing of that endpoint is there.
async fn look(
    stores: &dyn Persistence,
    endpoint: &Address,
    saga: &str,
    id: &str,
) -> Result<Option<Instance>, Failure> {
    if stores.has(endpoint).await.map_err(Failure::failed)? == Some(false) {
        return Ok(None);
    }
    let store = stores.open(endpoint).await.map_err(Failure::failed)?;
    let stored = StoredState::new(store, Arc::new(SystemClock));
    Ok(Some(stored.saga(saga, id).await?))
}

/// Opens what is there; the inner error says why it can't be opened.
fn open_database(directory: &Path) -> Result<Result<Database, OpenError>, Failure> {
    // Opening would make one.
    if !directory.join(FORMAT).is_file() {
        let shown = directory.display();
        let text = format!(
            "open the embedded database in {shown}: there is no database of Longhaul; give the directory that the endpoints use"
        );
        return Err(Failure::failed(text));
    }
    let options = Options::new()
        .max_value_bytes(BODY_BYTES)
        .max_batch_bytes(2 * BODY_BYTES);
    Ok(Database::open_with(directory, options))
}

/// Connects to a RabbitMQ.
pub(crate) async fn rabbitmq(settings: &RabbitSettings) -> Result<RabbitMq, Failure> {
    let mut builder = RabbitMq::builder(settings.address()?).connection_name("longhaul command");
    if let Some(prefix) = &settings.prefix {
        builder = builder.prefix(prefix);
    }
    if settings.allow_plaintext {
        builder = builder.allow_plaintext();
    }
    if let Some(path) = &settings.certificates {
        let pem = fs::read(path).map_err(|error| Failure::misused(format!("{}: {error}", path.display())))?;
        builder = builder.certificates(pem);
    }
    Ok(builder.connect().await?)
}

/// Amazon SQS as the settings say.
#[cfg(feature = "sqs")]
fn sqs(settings: &SqsSettings) -> Result<longhaul_sqs::SqsBuilder, Failure> {
    let mut builder = longhaul_sqs::Sqs::builder();
    if let Some(region) = &settings.region {
        builder = builder.region(region);
    }
    if let Some(profile) = &settings.profile {
        builder = builder.profile(profile);
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    if let Some(prefix) = &settings.prefix {
        builder = builder.prefix(prefix);
    }
    if settings.long_delays {
        builder = builder.long_delays();
    }
    let ordered = settings.ordered.iter().map(Address::new);
    let ordered: Vec<Address> = ordered
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::misused(error.to_string()))?;
    Ok(builder.ordered(&ordered))
}
