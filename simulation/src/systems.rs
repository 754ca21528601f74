//! Systems that Longhaul itself is simulated with: what `cargo xtask simulate` runs.

mod orders;

pub use orders::{contended_orders, one_message, orders, orders_of_a_stored_client};

use crate::simulation::Simulation;

/// The system that a seed stands for: each kind and each size has its turn.
pub fn of_seed(seed: u64) -> (String, Simulation) {
    // The lowest bit of the seed chooses the broker.
    let turn = seed / 2;
    let size = 1 + turn / 8 % 10;
    match turn % 8 {
        0..4 => (format!("orders({size})"), orders(size)),
        4..6 => (format!("contended_orders({size})"), contended_orders(size)),
        _ => (
            format!("orders_of_a_stored_client({size})"),
            orders_of_a_stored_client(size),
        ),
    }
}
