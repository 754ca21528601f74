//! Simulations as a user writes them, through `longhaul::testing`.

#![expect(clippy::expect_used, reason = "a test fails where something goes wrong")]

mod late_delivery;
