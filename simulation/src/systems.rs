//! Systems that Longhaul itself is simulated with: what `cargo xtask simulate` runs.

mod orders;

pub use orders::{contended_orders, orders};
