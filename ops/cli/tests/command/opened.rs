//! A broker while a test has it open, beside the command.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use longhaul_core::address::Address;
use longhaul_core::admin::QueueAdmin;
use longhaul_core::clock::SystemClock;
use longhaul_core::envelope::Incoming;
use longhaul_core::transport::{ReceiverOptions, Transport};
use longhaul_embedded::Database;
use longhaul_local::LocalBroker;
use longhaul_rabbitmq::RabbitMq;

use crate::stage::{LOOK_AGAIN, On, id, rabbit};

/// A broker while it is open.
pub(crate) struct Open {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) admin: Arc<dyn QueueAdmin>,
    rabbit: Option<Arc<RabbitMq>>,
    database: Option<Database>,
}

impl Open {
    /// On the embedded one, this is the directory.
    pub(crate) async fn new(on: On, data: &Path) -> Self {
        match on {
            On::RabbitMq => {
                let rabbit = Arc::new(rabbit().await);
                Self {
                    transport: Arc::clone(&rabbit) as Arc<dyn Transport>,
                    admin: Arc::clone(&rabbit) as Arc<dyn QueueAdmin>,
                    rabbit: Some(rabbit),
                    database: None,
                }
            }
            #[cfg(feature = "sqs")]
            On::Sqs => {
                let builder = longhaul_sqs::Sqs::builder().endpoint_url(crate::stage::emulator());
                let sqs = Arc::new(builder.account("000000000000").connect().await.unwrap());
                Self {
                    transport: Arc::clone(&sqs) as Arc<dyn Transport>,
                    admin: sqs,
                    rabbit: None,
                    database: None,
                }
            }
            On::Embedded => {
                let database = Database::open(data).unwrap();
                let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock)).unwrap();
                Self {
                    transport: Arc::new(broker.clone()),
                    admin: Arc::new(broker),
                    rabbit: None,
                    database: Some(database),
                }
            }
        }
    }

    pub(crate) async fn close(self) {
        let Self {
            transport,
            admin,
            rabbit,
            database,
        } = self;
        drop((transport, admin));
        if let Some(rabbit) = rabbit {
            rabbit.close().await;
        }
        if let Some(database) = database {
            database.close().unwrap();
        }
    }

    /// All messages of an error queue, which are that many: looks again until it sees them.
    pub(crate) async fn shown(&self, queue: &Address, count: usize) -> Vec<Incoming> {
        loop {
            let mut pass = self.admin.look_through(queue).await.unwrap();
            let mut all = Vec::new();
            loop {
                let page = pass.next(100).await.unwrap();
                if page.is_empty() {
                    break;
                }
                all.extend(page.into_iter().map(|found| found.incoming));
            }
            pass.close().await.unwrap();
            assert!(all.len() <= count, "more than {count}: {}", all.len());
            if all.len() == count {
                return all;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The same of an input queue, which is declared otherwise: it is consumed, and given back.
    pub(crate) async fn taken(&self, queue: &Address, count: usize) -> Vec<Incoming> {
        let options = ReceiverOptions {
            // All are held at once.
            prefetch: u16::try_from(count).unwrap().max(1),
            exclusive: false,
        };
        let mut receiver = self.transport.receiver(queue, options).await.unwrap();
        let (mut all, mut held) = (Vec::new(), Vec::new());
        while all.len() < count {
            let (incoming, settlement) = receiver.receive().await.unwrap().into_parts();
            all.push(incoming);
            held.push(settlement);
        }
        assert_eq!(
            self.admin.depth(queue).await.unwrap().ready,
            0,
            "more than {count}"
        );
        drop(held);
        receiver.close().await.unwrap();
        all
    }

    /// The ids of the messages of an input queue, each of which is taken out, until there are so many different ones.
    pub(crate) async fn ids_until(&self, queue: &Address, count: usize) -> BTreeSet<String> {
        let options = ReceiverOptions::default();
        let mut receiver = self.transport.receiver(queue, options).await.unwrap();
        let mut ids = BTreeSet::new();
        while ids.len() < count {
            let (incoming, settlement) = receiver.receive().await.unwrap().into_parts();
            settlement.acknowledge().await.unwrap();
            ids.insert(id(&incoming));
        }
        receiver.close().await.unwrap();
        ids
    }
}
