//! How many faults of each kind may happen in one run.

/// The most faults of each kind in one run. With none, only the order of the steps varies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Crashes of a process, which forgets all it has in memory, or of the store, which forgets what is not durable.
    pub crashes: u8,
    /// Copies of a message that arrive in addition.
    pub duplicates: u8,
    /// Leases, of a delivery or of a row, that end while their holder is still at work.
    pub lapses: u8,
    /// Commits that are answered with an error, whether they took effect or not.
    pub errors: u8,
    /// Sends that the broker refuses, or whose confirmation is lost.
    pub refusals: u8,
}
