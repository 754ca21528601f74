//! What is kept in the data directory beside the state of the endpoints: whose it is, and how far the feed has come.

use std::path::Path;

use anyhow::{Context, bail};
use longhaul::clock::Timestamp;
use longhaul::embedded::{Batch, Database};
use longhaul::ids::derived_message_id;

use crate::orders::Order;

const FILE: &[u8] = b"marketplace/orders";
const POSITION: &[u8] = b"marketplace/position";

/// An open data directory.
#[derive(Clone)]
pub(crate) struct Data {
    database: Database,
}

impl Data {
    /// Opens the directory, makes it at first use, and makes sure that it belongs to these orders.
    pub(crate) fn open(path: &Path, orders: &[Order]) -> anyhow::Result<Self> {
        let database = Database::open(path)
            .with_context(|| format!("the data directory {} can't be used", path.display()))?;
        let ours = fingerprint(orders);
        match database.get(FILE)? {
            Some(theirs) if theirs != ours => bail!(
                "the data directory {} belongs to a run with other orders: name another one with --data, or remove it",
                path.display()
            ),
            Some(_) => {}
            None => {
                let mut batch = Batch::new();
                batch.put(FILE, ours);
                database.commit(batch).wait()?;
            }
        }
        Ok(Self { database })
    }

    /// The database that the endpoints share.
    pub(crate) const fn database(&self) -> &Database {
        &self.database
    }

    /// Everything up to this instant is published; `None` at the first start.
    pub(crate) fn position(&self) -> anyhow::Result<Option<Timestamp>> {
        let Some(bytes) = self.database.get(POSITION)? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes)?;
        Ok(Some(Timestamp::parse(text)?))
    }

    /// Notes that everything up to `at` is published.
    pub(crate) async fn set_position(&self, at: Timestamp) -> anyhow::Result<()> {
        let mut batch = Batch::new();
        batch.put(POSITION, at.to_string());
        self.database.commit(batch).await?;
        Ok(())
    }
}

/// Tells one set of orders from another.
fn fingerprint(orders: &[Order]) -> String {
    let parts: Vec<String> = orders.iter().map(|order| format!("{order:?}")).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    derived_message_id(&parts, 0).to_string()
}
