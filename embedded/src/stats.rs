//! Counters of the writer.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a database has done since it was opened. See [`Database::stats`](crate::Database::stats).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Batches made durable, those of [`submit`](crate::Database::submit) included.
    pub commits: u64,
    /// Batches refused because a check did not hold.
    pub conflicts: u64,
    /// Syncs of the file. `commits / syncs` is how many batches shared one.
    pub syncs: u64,
    /// The most batches that one sync made durable.
    pub largest_group: u64,
    /// Batches waiting for the writer now.
    pub queued: u64,
    /// The size of the database file, in bytes.
    pub bytes_on_disk: u64,
    /// Whether that is over [`Options::disk_alarm_bytes`](crate::Options::disk_alarm_bytes).
    pub disk_alarm: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    conflicts: AtomicU64,
    syncs: AtomicU64,
    largest_group: AtomicU64,
}

impl Counters {
    pub(crate) fn group_done(&self, commits: u64, conflicts: u64, synced: bool) {
        self.commits.fetch_add(commits, Ordering::Relaxed);
        self.conflicts.fetch_add(conflicts, Ordering::Relaxed);
        self.syncs.fetch_add(u64::from(synced), Ordering::Relaxed);
        self.largest_group.fetch_max(commits, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, queued: u64, bytes_on_disk: u64, disk_alarm: bool) -> Stats {
        Stats {
            commits: self.commits.load(Ordering::Relaxed),
            conflicts: self.conflicts.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            largest_group: self.largest_group.load(Ordering::Relaxed),
            queued,
            bytes_on_disk,
            disk_alarm,
        }
    }
}
