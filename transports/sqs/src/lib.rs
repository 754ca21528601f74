//! Longhaul on Amazon SQS: standard queues, events over SNS, delays of up to 15 minutes.

mod admission;
mod backoff;
mod batch;
mod builder;
mod call;
#[cfg(test)]
mod double;
mod fault;
mod health;
mod incoming;
mod inner;
pub mod laps;
mod message;
mod names;
pub mod plan;
mod prepare;
mod queues;
mod receive;
mod rights;
mod send;
mod sqs;
mod text;
mod timing;
mod topics;

pub use builder::SqsBuilder;
pub use sqs::Sqs;
pub use timing::Timing;
