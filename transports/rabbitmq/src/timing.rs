//! How long anything may take.

use std::time::Duration;

/// Time limits of the transport. Every wait for the broker has one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// To open a connection, with TLS and login.
    pub connect: Duration,
    /// For the broker's answer to one request.
    pub answer: Duration,
    /// For the confirmations of one window of messages. What is not confirmed by then is unknown.
    pub confirm: Duration,
    /// For a receiver to hand back what it holds when it is closed.
    pub close: Duration,
    /// The pause before the first reconnection; it doubles with every failure.
    pub first_pause: Duration,
    /// The longest pause between two reconnections.
    pub longest_pause: Duration,
    /// How long a lasting fault (a queue that is gone, access refused) may last before `receive` reports it.
    pub grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(10),
            confirm: Duration::from_secs(30),
            close: Duration::from_secs(5),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            grace: Duration::from_secs(15),
        }
    }
}
