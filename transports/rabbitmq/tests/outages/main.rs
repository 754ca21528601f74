//! The transport while brokers are stopped, killed and starved: every test runs brokers of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails where something goes wrong"
)]
#![expect(dead_code, reason = "the other tests use more of what is shared")]

#[path = "../broker/support/mod.rs"]
mod support;

mod alarms;
mod brokers;
mod orders;
mod restarts;
mod slow;
