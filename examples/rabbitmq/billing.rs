//! Billing: a storeless endpoint. Any number of processes share its queue, here two.
//!
//! Without a store nothing remembers which messages were handled, so a message may be handled twice: after a crash, say.
//! That does no harm, since the payment gateway gets the message's idempotency key and charges once for it.

mod connection;
mod entry;
#[path = "messages/billing.rs"]
mod messages;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use longhaul::prelude::*;

use crate::entry::Entry;
use crate::messages::{CardCharged, CardRefunded, CardRefused, ChargeCard, RefundCard};

/// Runs the billing endpoint until it is asked to stop.
#[derive(Parser)]
struct Options {
    /// Where the pretend payment gateway keeps its books
    #[arg(long, value_name = "FOLDER")]
    gateway: PathBuf,
}

#[tokio::main]
async fn main() -> Result<(), longhaul::Error> {
    let options = Options::parse();
    connection::write_logs();
    Endpoint::builder("billing")
        .transport(connection::connect("billing").await?)
        .idempotent_handler::<ChargeCard>(Billing {
            gateway: Gateway::at(&options.gateway),
        })
        .idempotent_handler::<RefundCard>(Billing {
            gateway: Gateway::at(&options.gateway),
        })
        .run_until(longhaul::stop_signal())
        .await
}

struct Billing {
    gateway: Gateway,
}

impl Handler<ChargeCard> for Billing {
    async fn handle(&self, charge: ChargeCard, ctx: &mut Context) -> HandlerResult {
        if charge.card == "stolen" {
            ctx.reply(CardRefused {});
            return Ok(());
        }
        let taken = Entry {
            order: charge.order,
            cents: i64::try_from(charge.cents)?,
        };
        let receipt = self.gateway.transfer(&ctx.idempotency_key(), &taken)?;
        ctx.reply(CardCharged { receipt });
        Ok(())
    }
}

impl Handler<RefundCard> for Billing {
    async fn handle(&self, refund: RefundCard, ctx: &mut Context) -> HandlerResult {
        let given_back = Entry {
            order: refund.order,
            cents: -i64::try_from(refund.cents)?,
        };
        let receipt = self.gateway.transfer(&ctx.idempotency_key(), &given_back)?;
        ctx.reply(CardRefunded { receipt });
        Ok(())
    }
}

/// Stands for somebody else's service: moves money once for each idempotency key, whoever asks, however often.
struct Gateway {
    books: PathBuf,
}

/// Numbers the drafts of this process.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

impl Gateway {
    fn at(books: impl Into<PathBuf>) -> Self {
        Self { books: books.into() }
    }

    /// Moves money, unless it did so under the same key before. Returns the receipt, the same for the same key.
    fn transfer(&self, key: &str, entry: &Entry) -> io::Result<String> {
        let receipt = key.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
        // The entry appears complete or not at all, even if this process is killed here.
        let drafts = self.books.join("drafts");
        fs::create_dir_all(&drafts)?;
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = drafts.join(format!("{receipt}.{}.{number}", std::process::id()));
        fs::write(&draft, serde_json::to_vec(entry)?)?;
        let made = fs::hard_link(&draft, self.books.join(format!("{receipt}.json")));
        fs::remove_file(draft)?;
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(receipt),
        }
    }
}
