//! The limits of one broker.

/// The limits of one [`LocalBroker`](crate::LocalBroker). Each has a default that suits one process.
///
/// ```
/// use longhaul_local::LocalOptions;
///
/// let options = LocalOptions::new().max_body(64 * 1024).max_queue_length(10_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct LocalOptions {
    pub(crate) max_body: usize,
    pub(crate) max_queue_length: usize,
    pub(crate) max_queue_bytes: usize,
}

impl LocalOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The largest body in bytes; larger ones are refused as invalid. Default 1 MiB.
    pub const fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// How many messages one queue holds, those included that are delayed or not yet settled; one more is rejected
    /// until there is room. Default 1,000,000.
    pub const fn max_queue_length(mut self, messages: usize) -> Self {
        self.max_queue_length = messages;
        self
    }

    /// How many bytes of ids, headers and bodies one queue holds; what would be over is rejected until there is room.
    /// All of it is kept in memory, in durable mode too. Default 1 GiB.
    pub const fn max_queue_bytes(mut self, bytes: usize) -> Self {
        self.max_queue_bytes = bytes;
        self
    }
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            max_body: 1 << 20,
            max_queue_length: 1_000_000,
            max_queue_bytes: 1 << 30,
        }
    }
}
