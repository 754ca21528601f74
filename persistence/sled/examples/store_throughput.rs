//! How many units of work a second one endpoint commits, and how many of them share a sync.
//!
//! Each unit is what handling an ordinary message is: one message done, one record changed, one message to send.
//! After it the row is marked as sent, in a unit of its own, with `--sent`.
//!
//! ```text
//! cargo run --release -p longhaul-sled --example store_throughput -- [seconds] [units in flight] [--sent]
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, SystemClock, Timestamp};
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::Headers;
use longhaul_core::ids::{MessageId, SeededRandomness, derived_message_id, new_message_id};
use longhaul_core::store::{
    InboxChange, InboxState, PendingChange, PendingKind, PendingRow, Persistence, RecordChange, RecordKey,
    Store, UnitOfWork,
};
use longhaul_core::transport::Destination;
use longhaul_embedded::Database;
use longhaul_sled::Sled;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let marks_sent = std::env::args().any(|word| word == "--sent");
    let seconds = numbers.first().copied().unwrap_or(5);
    let in_flight = numbers.get(1).copied().unwrap_or(256);

    let directory = tempfile::tempdir()?;
    let database = Database::open(directory.path().join("data"))?;
    let store = Sled::on(database.clone()).open(&Address::new("sales")?).await?;

    let units = Arc::new(AtomicU64::new(0));
    let until = SystemClock.now() + Duration::from_secs(seconds);
    let workers: Vec<_> = (0..in_flight)
        .map(|number| {
            tokio::spawn(work(
                Arc::clone(&store),
                number,
                until,
                marks_sent,
                Arc::clone(&units),
            ))
        })
        .collect();
    let begun = SystemClock.now();
    for worker in workers {
        worker.await??;
    }
    let took = SystemClock.now().since(begun).as_secs_f64();

    let (units, stats) = (units.load(Ordering::Relaxed), database.stats());
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let per = |count: u64, by: f64| count as f64 / by;
    println!(
        "{in_flight} in flight for {took:.1} s: {units} units, {:.0} a second",
        per(units, took)
    );
    println!(
        "{} commits in {} syncs: {:.1} commits a sync, at most {}; {} conflicts",
        stats.commits,
        stats.syncs,
        per(stats.commits, per(stats.syncs, 1.0)),
        stats.largest_group,
        stats.conflicts
    );
    println!("{} MB on disk", stats.bytes_on_disk >> 20);
    Ok(())
}

async fn work(
    store: Arc<dyn Store>,
    number: u64,
    until: Timestamp,
    marks_sent: bool,
    units: Arc<AtomicU64>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let to = Destination::Queue(Address::new("billing")?);
    let randomness = SeededRandomness::new(number);
    let mut version = None;
    loop {
        let now = SystemClock.now();
        if now >= until {
            return Ok(());
        }
        let message = new_message_id(now, &randomness);
        let row = row(&message, to.clone(), now);
        let outgoing = row.id.clone();
        let unit = UnitOfWork {
            inbox: vec![InboxChange {
                id: message,
                expected: None,
                next: Some(InboxState::Done),
                at: now,
            }],
            records: vec![RecordChange::Put {
                key: RecordKey::new("order", number.to_string()),
                expected: version,
                body: Bytes::from_static(&[b'x'; 200]),
                expires: None,
            }],
            pending: vec![PendingChange::Add(Box::new(row))],
        };
        store.commit(unit).await?;
        version = Some(version.unwrap_or(0) + 1);
        units.fetch_add(1, Ordering::Relaxed);
        if marks_sent {
            let pending = vec![PendingChange::Sent(outgoing)];
            store
                .commit(UnitOfWork {
                    pending,
                    ..UnitOfWork::default()
                })
                .await?;
        }
    }
}

fn row(cause: &MessageId, to: Destination, now: Timestamp) -> PendingRow {
    let id = derived_message_id(&[cause.as_str(), "sales"], 0);
    let mut headers = Headers::new();
    headers.set("longhaul.type", "billing.charge_card.v1");
    headers.set("longhaul.causation", cause.as_str());
    PendingRow {
        envelope: Envelope::new(id.clone(), headers, Bytes::from_static(&[b'y'; 200])),
        id,
        kind: PendingKind::Message,
        owner: None,
        name: String::new(),
        to,
        due: None,
        attention: now,
        token: 0,
        alarm_sent: false,
        parked: None,
    }
}
