//! The transport against a real broker, whose address is in `LONGHAUL_AMQP_URL`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails where something goes wrong"
)]

mod support;

mod contract;
mod delays;
mod encryption;
mod foreign;
mod lapin_facts;
mod loss;
mod prepare;
mod publishing;
mod receiving;
mod round_trip;
mod secrets;
