//! What readers, waiters and later commits see while the writer is held between writing a group and syncing it.

mod grouping;
mod reading;
mod stopping;

use bytes::Bytes;

use crate::{Batch, CommitError, CommitErrorKind, Database, Options, Scan, gate::Gate};

/// A database in a directory of its own, with its gate.
struct Held {
    database: Database,
    directory: tempfile::TempDir,
}

impl Held {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open_with(directory.path().join("data"), options).unwrap();
        Self { database, directory }
    }

    fn gate(&self) -> &Gate {
        self.database.gate()
    }

    /// Holds the writer in a group of its own, so that what is committed next becomes one group.
    fn hold(&self) {
        self.gate().shut();
        drop(self.database.commit(put("held", "held")));
        self.gate().writer_waits();
    }

    fn all(&self) -> Vec<(Bytes, Bytes)> {
        self.database.scan(&Scan::all()).unwrap()
    }
}

fn put(key: &str, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(key.to_owned(), value);
    batch
}

fn kind(outcome: Result<(), CommitError>) -> CommitErrorKind {
    outcome.unwrap_err().kind()
}
