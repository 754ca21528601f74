//! The broker that the settings name.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use longhaul_core::address::Address;
use longhaul_core::admin::QueueAdmin;
use longhaul_core::clock::SystemClock;
use longhaul_core::store::Persistence;
use longhaul_core::transport::{Transport, TransportErrorKind};
use longhaul_embedded::{Database, Options};
use longhaul_local::{LocalBroker, LocalOptions};
use longhaul_ops::errors::ErrorQueue;
use longhaul_ops::stored::StoredState;
use longhaul_rabbitmq::RabbitMq;
use longhaul_sled::Sled;

use crate::args::{BrokerName, Connection};
use crate::config::{self, RabbitSettings, Settings};
use crate::failure::Failure;

/// What every directory of an embedded database holds.
const FORMAT: &str = "longhaul.format";

/// The largest body that is passed on in an embedded directory.
const BODY_BYTES: usize = 64 << 20;

/// A broker, and what is set up about it.
pub(crate) struct System {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) admin: Arc<dyn QueueAdmin>,
    pub(crate) error_queue: Address,
    rabbit: Option<Arc<RabbitMq>>,
    database: Option<Database>,
}

impl System {
    /// Connects to what the settings name.
    pub(crate) async fn connect(connection: &Connection) -> Result<Self, Failure> {
        let settings = config::load(connection)?;
        let name = settings.error_queue.as_deref().unwrap_or("error");
        let error_queue = Address::new(name).map_err(|error| Failure::misused(error.to_string()))?;
        match settings.which(connection)? {
            BrokerName::Rabbitmq => Self::rabbitmq(&settings.rabbitmq, error_queue).await,
            BrokerName::Embedded => {
                let directory = settings.embedded.directory.as_deref().ok_or_else(|| {
                    Failure::misused("the directory of the embedded broker is not set: give --data DIRECTORY")
                })?;
                Self::embedded(directory, error_queue)
            }
            BrokerName::Sqs => Self::sqs(&settings, error_queue).await,
        }
    }

    async fn rabbitmq(settings: &RabbitSettings, error_queue: Address) -> Result<Self, Failure> {
        let mut builder = RabbitMq::builder(settings.address()?).connection_name("longhaul command");
        if let Some(prefix) = &settings.prefix {
            builder = builder.prefix(prefix);
        }
        if settings.allow_plaintext {
            builder = builder.allow_plaintext();
        }
        if let Some(path) = &settings.certificates {
            let pem =
                fs::read(path).map_err(|error| Failure::misused(format!("{}: {error}", path.display())))?;
            builder = builder.certificates(pem);
        }
        let rabbit = Arc::new(builder.connect().await?);
        Ok(Self {
            transport: Arc::clone(&rabbit) as Arc<dyn Transport>,
            admin: Arc::clone(&rabbit) as Arc<dyn QueueAdmin>,
            error_queue,
            rabbit: Some(rabbit),
            database: None,
        })
    }

    fn embedded(directory: &Path, error_queue: Address) -> Result<Self, Failure> {
        // Opening would make one.
        if !directory.join(FORMAT).is_file() {
            let shown = directory.display();
            let text = format!(
                "open the embedded broker in {shown}: there is no database of Longhaul; give the directory that the endpoints use"
            );
            return Err(Failure::failed(text));
        }
        let options = Options::new()
            .max_value_bytes(BODY_BYTES)
            .max_batch_bytes(2 * BODY_BYTES);
        let database = Database::open_with(directory, options).map_err(Failure::failed)?;
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
            database: Some(database),
        })
    }

    #[cfg(feature = "sqs")]
    async fn sqs(settings: &Settings, error_queue: Address) -> Result<Self, Failure> {
        let mut builder = longhaul_sqs::Sqs::builder();
        let sqs = &settings.sqs;
        if let Some(region) = &sqs.region {
            builder = builder.region(region);
        }
        if let Some(profile) = &sqs.profile {
            builder = builder.profile(profile);
        }
        if let Some(endpoint) = &sqs.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some(prefix) = &sqs.prefix {
            builder = builder.prefix(prefix);
        }
        let ordered = sqs.ordered.iter().map(Address::new);
        let ordered: Vec<Address> = ordered
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::misused(error.to_string()))?;
        let sqs = Arc::new(builder.ordered(&ordered).connect().await?);
        Ok(Self {
            transport: Arc::clone(&sqs) as Arc<dyn Transport>,
            admin: sqs,
            error_queue,
            rabbit: None,
            database: None,
        })
    }

    #[cfg(not(feature = "sqs"))]
    #[expect(clippy::unused_async, reason = "with SQS it waits")]
    async fn sqs(_: &Settings, _: Address) -> Result<Self, Failure> {
        Err(Failure::misused(
            "this `longhaul` was built without SQS: build it with the feature `sqs`",
        ))
    }

    /// What an endpoint has stored in the embedded directory.
    pub(crate) async fn stored(&self, endpoint: &str) -> Result<StoredState, Failure> {
        let Some(database) = &self.database else {
            return Err(Failure::misused(
                "only the store in an embedded directory can be looked at: give --data DIRECTORY",
            ));
        };
        let name = Address::new(endpoint).map_err(|error| Failure::misused(error.to_string()))?;
        // Opening would make one. An endpoint on the embedded broker has a queue of its name.
        if let Err(error) = self.admin.depth(&name).await
            && error.kind() == TransportErrorKind::Topology
        {
            let text =
                format!("find the endpoint {endpoint} in this directory: it has no queue of that name");
            return Err(Failure::failed(text));
        }
        let store = Sled::on(database.clone())
            .open(&name)
            .await
            .map_err(Failure::failed)?;
        Ok(StoredState::new(store, Arc::new(SystemClock)))
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

    /// Ends it in good order.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        drop((self.transport, self.admin));
        if let Some(rabbit) = self.rabbit {
            rabbit.close().await;
        }
        match self.database {
            Some(database) => database.close().map_err(Failure::failed),
            None => Ok(()),
        }
    }
}
