//! How the simulated broker behaves.

use std::time::Duration;

/// How a broker behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Personality {
    /// Like RabbitMQ: a message belongs to the connection that got it, and comes again when that is gone.
    #[default]
    Rabbit,
    /// Like Amazon SQS: a message is lent for a time, and comes again when that has passed; delays of at most 15 minutes.
    Sqs,
    /// Like the FIFO queues of Amazon SQS: of each [group](longhaul_core::ordering::group) one message after the other, in the
    /// order of sending, and a [copy](longhaul_core::ordering::copy) of what it took within five minutes is dropped. What is
    /// delayed joins its group when it is due.
    SqsFifo,
}

impl Personality {
    /// Those that a system is simulated on if it is not said.
    pub const ALL: [Self; 2] = [Self::Rabbit, Self::Sqs];
    /// All that there are.
    pub(crate) const EVERY: [Self; 3] = [Self::Rabbit, Self::Sqs, Self::SqsFifo];

    /// What it is called in the text of a schedule.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Rabbit => "rabbit",
            Self::Sqs => "sqs",
            Self::SqsFifo => "sqs-fifo",
        }
    }

    /// Whether messages are lent for a time.
    pub(super) const fn has_leases(self) -> bool {
        matches!(self, Self::Sqs | Self::SqsFifo)
    }

    /// The longest delay that the broker keeps by itself.
    pub(crate) const fn longest_delay(self) -> Duration {
        match self {
            Self::Rabbit => Duration::from_secs((1 << 28) - 1),
            Self::Sqs | Self::SqsFifo => Duration::from_secs(900),
        }
    }

    pub(crate) const fn max_batch(self) -> usize {
        match self {
            Self::Rabbit => 64,
            Self::Sqs | Self::SqsFifo => 10,
        }
    }
}
