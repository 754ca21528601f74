//! The `longhaul` command, run as somebody at a shell runs it: on an embedded broker, and on the RabbitMQ of
//! `LONGHAUL_AMQP_URL`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails where something goes wrong"
)]

mod bodies;
mod delays;
mod demo;
mod errors;
mod every;
mod extras;
mod killing;
mod levels;
mod opened;
mod outbox;
mod refusals;
#[cfg(unix)]
mod running;
mod stage;
mod stored;
mod sweep;
#[cfg(unix)]
mod trips;
