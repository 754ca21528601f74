//! The transport against a real broker, whose address is in `LONGHAUL_AMQP_URL`.

#![expect(clippy::unwrap_used, reason = "a test fails where something goes wrong")]

mod support;

mod round_trip;
