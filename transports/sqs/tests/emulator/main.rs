//! The transport against an emulator of SQS and SNS, whose address is in `LONGHAUL_SQS_ENDPOINT`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails where something goes wrong"
)]

mod support;

#[cfg(feature = "s3")]
mod bodies;
mod contract;
mod cuts;
mod delays;
mod foreign;
mod order;
mod prepare;
mod requests;
