//! The limits of one database.

/// The limits of one [`Database`](crate::Database). Every one has a default that suits a service of ordinary size.
///
/// ```
/// use longhaul_embedded::Options;
///
/// let options = Options::new().cache_bytes(256 << 20).max_value_bytes(256 << 10);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    pub(crate) cache_bytes: u64,
    pub(crate) max_value_bytes: usize,
    pub(crate) max_batch_bytes: usize,
    pub(crate) max_group: usize,
    /// Not for users to set: the engine may reuse the room of what a group has moved while the group is not yet
    /// synced, once the group has filled three segments of 512 KiB. So a group stays well below that.
    pub(crate) max_group_bytes: usize,
    pub(crate) queue_batches: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) disk_alarm_bytes: Option<u64>,
    pub(crate) safety_copy_bytes: u64,
}

impl Options {
    /// The longest key in bytes. Fixed, because it decides together with the size of a stored piece that no page
    /// ever grows beyond what is written to the one synced file.
    pub const MAX_KEY_BYTES: usize = 1_024;

    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Memory for cached pages, in bytes. Default 64 MiB.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// The longest value accepted, in bytes. Default 1 MiB. Longer ones are refused with
    /// [`CommitErrorKind::TooLarge`](crate::CommitErrorKind::TooLarge).
    ///
    /// Values of more than 4 KiB are stored in pieces of 4 KiB, so that none of them ever leaves the one file that
    /// is synced; the cap is there to bound memory and the time one commit takes.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// The most keys and values one batch may carry, in bytes. Default 16 MiB.
    ///
    /// Batches share a sync up to 256 KiB together; a larger one has a sync of its own. While one of more than 1 MiB is
    /// being written, the engine may already reuse the room of what it replaces: a loss of power (not the end of the
    /// process) just then may take older entries with it, which shows when the database is opened.
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.max_batch_bytes = bytes;
        self
    }

    /// The most batches that are made durable by one sync. Default 512; at least 1.
    pub fn max_group(mut self, batches: usize) -> Self {
        self.max_group = batches.max(1);
        self
    }

    /// How many batches may wait for the writer. Default 16,384; at least 1. One more is answered with
    /// [`CommitErrorKind::Busy`](crate::CommitErrorKind::Busy).
    pub fn queue_batches(mut self, batches: usize) -> Self {
        self.queue_batches = batches.max(1);
        self
    }

    /// How many bytes of batches may wait for the writer. Default 64 MiB. A batch that finds the queue empty is
    /// taken whatever its size.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Warn, once each time it is crossed, when the database takes more than this on disk. Default: never.
    pub fn disk_alarm_bytes(mut self, bytes: u64) -> Self {
        self.disk_alarm_bytes = Some(bytes);
        self
    }

    /// The largest directory that is copied aside before it is opened. Default 1 GiB; 0 copies never.
    ///
    /// Opening writes into the directory before damage can show. With the copy, a directory found damaged is put
    /// back as it was and a backup or a repair can start from it; without, only the error is left. The copy is
    /// removed once the database has opened.
    pub fn safety_copy_bytes(mut self, bytes: u64) -> Self {
        self.safety_copy_bytes = bytes;
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            max_value_bytes: 1 << 20,
            max_batch_bytes: 16 << 20,
            max_group: 512,
            max_group_bytes: 256 << 10,
            queue_batches: 16_384,
            queue_bytes: 64 << 20,
            disk_alarm_bytes: None,
            safety_copy_bytes: 1 << 30,
        }
    }
}
