//! How many commits a second: one at a time, and with many in flight.
//!
//! `cargo run --release -p longhaul-embedded --example throughput [directory]`

use std::{
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

use longhaul_embedded::{Batch, CommitError, Database, Stats};

const LONG_ENOUGH: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let made = tempfile::tempdir()?;
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(|| made.path().to_owned(), Into::into);
    println!(
        "{:>9} {:>12} {:>13} {:>10} {:>13} {:>9}",
        "in flight", "keys/commit", "commits/s", "syncs/s", "commits/sync", "MiB"
    );
    for (in_flight, keys) in [(1, 1), (1, 4), (16, 1), (512, 1), (512, 2), (512, 4)] {
        measure(&directory, in_flight, keys).await?;
    }
    Ok(())
}

async fn measure(directory: &Path, in_flight: u64, keys: u64) -> Result<(), Box<dyn Error>> {
    let database = Database::open(directory.join(format!("{in_flight}-{keys}")))?;
    let begun = now();
    let workers: Vec<_> = (0..in_flight)
        .map(|worker| tokio::spawn(commit_for_a_while(database.clone(), worker, keys, begun)))
        .collect();
    for worker in workers {
        worker.await??;
    }
    report(in_flight, keys, begun.elapsed(), &database.stats());
    database.close()?;
    Ok(())
}

async fn commit_for_a_while(
    database: Database,
    worker: u64,
    keys: u64,
    begun: Instant,
) -> Result<(), CommitError> {
    let mut turn = 0_u64;
    while begun.elapsed() < LONG_ENOUGH {
        let mut batch = Batch::new();
        for key in 0..keys {
            // Ten thousand keys for each worker at most: what is written is mostly overwritten later.
            batch.put(
                format!("{worker:08}/{:08}/{key}", turn % 10_000),
                turn.to_be_bytes().repeat(25),
            );
        }
        database.commit(batch).await?;
        turn += 1;
    }
    Ok(())
}

fn report(in_flight: u64, keys: u64, took: Duration, stats: &Stats) {
    let second = took.as_millis().max(1);
    let per_second = |count: u64| u128::from(count) * 1_000 / second;
    println!(
        "{in_flight:>9} {keys:>12} {:>13} {:>10} {:>13} {:>9}",
        per_second(stats.commits),
        per_second(stats.syncs),
        stats.commits / stats.syncs.max(1),
        stats.bytes_on_disk >> 20,
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "to measure time is what this program is for"
)]
fn now() -> Instant {
    Instant::now()
}
