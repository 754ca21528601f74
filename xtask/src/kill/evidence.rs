//! What a run left behind: the third party's entries, the stores, the queues.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use longhaul::address::Address;
use longhaul::prelude::*;
use longhaul::sagas::{Instance, Outcome, Status};
use longhaul::sled::Sled;
use longhaul::store::{Persistence, Record, Store};
use longhaul::transport::{ReceiverOptions, Transport};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::kill::accounts::{Account, Ending};
use crate::kill::folder::Folder;
use crate::kill::ledger::Entry;
use crate::kill::process::{self, At, Part, endpoint_name};
use crate::kill::{placing, records};

/// How long a queue is watched that should hold nothing.
const WATCH: Duration = Duration::from_millis(500);
const PAGE: usize = 1_000;

/// Everything that a run left behind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// The orders whose placing was confirmed.
    pub(crate) placed: BTreeSet<u64>,
    /// What the third party did.
    pub(crate) entries: Vec<Entry>,
    /// What accounts committed, by order.
    pub(crate) endings: BTreeMap<u64, Vec<Ending>>,
    /// What accounts hold.
    pub(crate) accounts: Vec<Account>,
    /// What shipping committed, by order.
    pub(crate) desk: BTreeMap<u64, Vec<String>>,
    /// The sagas of sales, by order: where they stand, and how they ended.
    pub(crate) sagas: BTreeMap<u64, (Status, Option<Outcome>)>,
    /// Whatever should be gone: messages that were not sent, timeouts, messages in queues.
    pub(crate) left: Vec<String>,
    /// How often a handler of billing and shipping ran, and how many of those runs repeated another one.
    pub(crate) executions: (u64, u64),
}

impl Evidence {
    /// Collects it. No process of the run may be there any more.
    pub(crate) async fn collect(folder: &Folder, tag: &str, at: &At) -> anyhow::Result<Self> {
        let mut found = Self {
            placed: placing::placed(folder)?,
            entries: folder.third_party()?.entries()?,
            executions: executions(folder)?,
            ..Self::default()
        };
        let mut open = Vec::new();
        if *at != At::Embedded {
            for part in [Part::Sales, Part::Shipping, Part::Accounts] {
                open.push((part, Sled::on(process::open_database(folder, part.as_str())?)));
            }
            found.look_into_queues(at, tag).await?;
        } else {
            let database = process::open_database(folder, Part::All.as_str())?;
            let sled = Sled::on(database.clone());
            for part in [Part::Sales, Part::Shipping, Part::Accounts, Part::Client] {
                open.push((part, sled.clone()));
            }
            let broker = LocalBroker::durable(database, Arc::new(SystemClock))?;
            for (queue, length) in broker.queue_lengths() {
                // What is delayed are alarms of timeouts that were cancelled: they come to nothing.
                if length.ready + length.unsettled > 0 {
                    found.left.push(format!(
                        "{} messages in the queue {queue}",
                        length.ready + length.unsettled
                    ));
                }
            }
        }
        for (part, sled) in open {
            let store = sled.open(&Address::new(endpoint_name(tag, part))?).await?;
            found.read_store(part, &*store).await?;
        }
        Ok(found)
    }

    async fn read_store(&mut self, part: Part, store: &dyn Store) -> anyhow::Result<()> {
        let sizes = store.admin().sizes().await?;
        let sizes = [
            ("unsent messages", sizes.unsent),
            ("timeouts", sizes.timeouts),
            ("rows set aside", sizes.parked),
        ];
        for (what, count) in sizes.into_iter().filter(|(_, count)| *count > 0) {
            self.left
                .push(format!("{count} {what} in the store of {}", part.as_str()));
        }
        match part {
            Part::Sales => {
                for record in all(store, records::SAGAS).await? {
                    let instance = Instance::read(&record)?;
                    self.sagas
                        .insert(record.key.id.parse()?, (instance.status, instance.outcome));
                }
            }
            Part::Shipping => self.desk = by_order(&all(store, records::DESK).await?)?,
            Part::Accounts => {
                self.endings = by_order(&all(store, records::OUTCOMES).await?)?;
                let accounts: BTreeMap<u64, Account> = by_order(&all(store, records::ACCOUNTS).await?)?;
                self.accounts = accounts.into_values().collect();
            }
            Part::All | Part::Billing | Part::Client => {}
        }
        Ok(())
    }

    async fn look_into_queues(&mut self, at: &At, tag: &str) -> anyhow::Result<()> {
        match at {
            At::Embedded => Ok(()),
            At::RabbitMq(url) => {
                let broker = process::connect(url, tag, "check").await?;
                self.look_into(&broker, tag).await?;
                broker.close().await;
                Ok(())
            }
            At::Sqs(url) => self.look_into(&process::connect_sqs(url).await?, tag).await,
        }
    }

    async fn look_into(&mut self, broker: &dyn Transport, tag: &str) -> anyhow::Result<()> {
        let parts = [Part::Sales, Part::Billing, Part::Shipping, Part::Accounts];
        let queues = parts
            .into_iter()
            .map(|part| endpoint_name(tag, part))
            .chain([format!("{tag}errors")]);
        for queue in queues {
            let mut receiver = broker
                .receiver(&Address::new(&queue)?, ReceiverOptions::default())
                .await?;
            if let Ok(delivery) = timeout(WATCH, receiver.receive()).await {
                let (incoming, settlement) = delivery?.into_parts();
                let (id, headers) = (incoming.id, incoming.headers);
                self.left
                    .push(format!("a message in the queue {queue}: {id:?} {headers:?}"));
                settlement.release(Duration::ZERO).await?;
            }
            receiver.close().await?;
        }
        Ok(())
    }
}

async fn all(store: &dyn Store, collection: &str) -> anyhow::Result<Vec<Record>> {
    let mut found: Vec<Record> = Vec::new();
    loop {
        let after = found.last().map(|record| record.key.id.to_string());
        let page = store.admin().records(collection, after.as_deref(), PAGE).await?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

fn by_order<T: DeserializeOwned>(found: &[Record]) -> anyhow::Result<BTreeMap<u64, T>> {
    let read = |record: &Record| Ok((record.key.id.parse()?, serde_json::from_slice(&record.body)?));
    found.iter().map(read).collect()
}

/// How often handlers ran, and how many of those runs repeated another one.
fn executions(folder: &Folder) -> anyhow::Result<(u64, u64)> {
    let text = match fs::read_to_string(folder.executions()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((0, 0)),
        text => text?,
    };
    let different: BTreeSet<&str> = text.lines().collect();
    let all = text.lines().count() as u64;
    Ok((all, all - different.len() as u64))
}
