//! Which faults a simulation may use.

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// A process ends at any step of the runtime, and starts again.
    Crash,
    /// A message comes twice.
    Duplicate,
    /// A message comes later than others that were sent after it.
    Delay,
    /// Processes run in another order.
    Order,
    /// The broker says no, answers late, or not at all, with the work done or not.
    Broker,
    /// An acknowledgement does not reach the broker.
    Acknowledgement,
    /// The connection to the broker is cut, or a consumer ends.
    Connection,
    /// The store says no, answers late, or not at all, with the work done or not.
    Store,
    /// A third party says no, answers late, or not at all, with the work done or not.
    Outside,
    /// A handler panics over the answer of a third party, which has done what it was asked, or has not.
    Panic,
    /// A process stands still for as long as its leases or longer, and goes on as if nothing had been.
    Pause,
    /// The clock of a process is set forward or back, by a second or an hour.
    Clock,
    /// A process is stopped as for a deployment, and starts again.
    Stop,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Crash,
        Self::Duplicate,
        Self::Delay,
        Self::Order,
        Self::Broker,
        Self::Acknowledgement,
        Self::Connection,
        Self::Store,
        Self::Outside,
        Self::Panic,
        Self::Pause,
        Self::Clock,
        Self::Stop,
    ];
}

/// A choice of faults; each seed mixes those that it may use anew.
///
/// ```
/// use longhaul_simulation::{FaultKind, Faults};
/// let no_crashes = Faults::all().without(FaultKind::Crash);
/// assert!(no_crashes.includes(FaultKind::Duplicate) && !no_crashes.includes(FaultKind::Crash));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults(u16);

impl Faults {
    /// Everything that can go wrong.
    #[must_use]
    pub fn all() -> Self {
        FaultKind::ALL.into_iter().fold(Self::none(), Self::with)
    }

    /// Nothing goes wrong: one schedule, the same each time.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Also this.
    #[must_use]
    pub const fn with(self, kind: FaultKind) -> Self {
        Self(self.0 | 1 << kind as u16)
    }

    /// Not this.
    #[must_use]
    pub const fn without(self, kind: FaultKind) -> Self {
        Self(self.0 & !(1 << kind as u16))
    }

    /// Whether this may go wrong.
    #[must_use]
    pub const fn includes(self, kind: FaultKind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }
}
