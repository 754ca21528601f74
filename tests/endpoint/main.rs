//! The endpoint's guarantees on the embedded broker and the memory store, on virtual time.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod breakers;
mod fast_clock;
mod faults;
mod hostile;
mod inbox;
mod let_pass;
mod limited;
mod limits;
mod lines;
mod outage;
mod outbox;
mod quarantine;
mod races;
mod reading;
mod retries;
mod rules;
mod setup;
mod timeouts;
mod world;
