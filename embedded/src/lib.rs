//! The one embedded sled database of a Longhaul process: one writer thread, group commit, own sync, recovery.
//!
//! It keeps bytes under bytes, in key order. Writes go through [`Database::commit`] as [`Batch`]es, each with the
//! [`Check`]s that must hold for it; reads see only what is durable.
//!
//! ```
//! use longhaul_embedded::{Batch, Check, CommitErrorKind, Database, Scan};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("data");
//! let database = Database::open(path)?;
//!
//! let mut open = Batch::new();
//! open.check(Check::Absent("order/7".into()));
//! open.put("order/7", "open");
//! database.commit(open.clone()).wait()?; // or `.await`
//!
//! let again = database.commit(open).wait().unwrap_err();
//! assert_eq!(again.kind(), CommitErrorKind::Conflict);
//!
//! assert_eq!(database.get(b"order/7")?.as_deref(), Some(&b"open"[..]));
//! assert_eq!(database.scan(&Scan::prefix(b"order/"))?.len(), 1);
//! database.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it survives
//!
//! A commit that returned `Ok` is there after the process was killed; one that did not return is there as a whole or
//! not at all. The same holds after a loss of power, as far as the disk keeps what it confirmed: one writer thread
//! takes what is queued as a group (up to 512 batches), applies it as one atomic change, syncs the file, and only then
//! answers. What the engine moves about in the background is synced up to half a second later, so a disk that
//! reorders what it has in its cache may, on a loss of power in that time, take older entries with it.
//!
//! It never passes over such a loss in silence. Opening reads every entry and compares a sum over all of them and the
//! number of the last acknowledged group with what was written; a directory that does not match is refused as
//! [`Damaged`](OpenErrorKind::Damaged) and left as it was found. A damaged snapshot of the engine is rebuilt.
//!
//! After the first error of the engine nothing more is acknowledged until the database is opened anew: see
//! [`Failure`]. To make a backup, copy the whole directory while the database is closed.
//!
//! # What it is not
//!
//! It is for one process and for as much data as a machine reads in the time that a start may take. Reads take no
//! part in a commit: to write on the condition of what was read, say so with a [`Check`].

mod acknowledged;
mod aside;
mod batch;
mod commit;
mod commit_error;
mod database;
mod directory;
mod engine;
mod failure;
#[cfg(test)]
mod gate;
mod group;
mod in_flight;
mod open_error;
mod options;
mod queue;
mod quiet;
mod read_error;
mod record;
mod recovery;
mod scan;
mod shared;
mod stats;
mod tally;
#[cfg(test)]
mod tests;
mod view;
mod writer;

pub use batch::{Batch, Check};
pub use commit::Commit;
pub use commit_error::{CommitError, CommitErrorKind};
pub use database::Database;
pub use failure::{Failure, FailureKind};
pub use open_error::{OpenError, OpenErrorKind};
pub use options::Options;
pub use read_error::{ReadError, ReadErrorKind};
pub use scan::Scan;
pub use stats::Stats;
