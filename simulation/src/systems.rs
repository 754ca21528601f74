//! Systems that Longhaul itself is simulated with: what `cargo xtask simulate` runs.

mod alarms;
mod bank;
mod discards;
mod operators;
mod orders;
mod outages;
mod programs;
mod rooms;
mod versions;

use std::time::Duration;

use longhaul_core::recoverability::RetryPolicy;
use longhaul_sagas::CompensationPolicy;

pub use alarms::alarms;
pub use bank::bank;
pub use discards::discards;
pub use operators::operators;
pub use orders::{contended_orders, one_message, orders, orders_of_a_stored_client};
pub use outages::outages;
pub use programs::programs;
pub use rooms::rooms;
pub use versions::versions;

use crate::broker::Personality;
use crate::effects::Effects;
use crate::simulation::Simulation;

/// The system that a seed stands for: each kind and each size has its turn.
///
/// `rooms` is not among them: its endpoint remembers ids for 40 s only, and a client that asks again under its own id, after it
/// heard nothing for longer, may be handled twice. That is as it is meant: retention must outlast whoever sends again.
///
/// A quarter of those with leases keep groups in order and drop copies.
pub fn of_seed(seed: u64) -> (String, Simulation) {
    if !seed.is_multiple_of(2) && round(seed) % 4 == 3 {
        return of_seed_in_order(seed);
    }
    drawn(seed)
}

/// The same, on a broker that keeps groups in order and drops copies.
pub fn of_seed_in_order(seed: u64) -> (String, Simulation) {
    let (name, system) = drawn(seed);
    let on = Personality::SqsFifo;
    (format!("{name}.on(Personality::{on:?})"), system.on(on))
}

/// How often every kind of system has had its turn.
const fn round(seed: u64) -> u64 {
    seed / 2 / 14
}

fn drawn(seed: u64) -> (String, Simulation) {
    // The lowest bit of the seed chooses the broker.
    let (turn, round) = (seed / 2, round(seed));
    let size = 1 + round % 10;
    let is_shared = round.is_multiple_of(3);
    match turn % 14 {
        0..4 => {
            let count = 1 + round % 8;
            let name = format!("programs({seed}, {count}, {is_shared})");
            (name, programs(seed, count, is_shared))
        }
        4 | 5 => (format!("bank({size}, {is_shared})"), bank(size, is_shared)),
        6 => {
            let size = 1 + round % 4;
            (
                format!("versions({size}, {is_shared})"),
                versions(size, is_shared),
            )
        }
        7 | 8 => (format!("orders({size})"), orders(size)),
        9 | 10 => (format!("contended_orders({size})"), contended_orders(size)),
        11 => (format!("alarms({size})"), alarms(size)),
        12 => (format!("outages({size})"), outages(size)),
        _ => (
            format!("orders_of_a_stored_client({size})"),
            orders_of_a_stored_client(size),
        ),
    }
}

/// Compensation that waits longer than any answer takes whatever goes wrong, so that undos come in the order of the steps.
const fn patient() -> CompensationPolicy {
    CompensationPolicy {
        answer_within: Duration::from_secs(4 * 3600),
        undo_within: Duration::from_secs(600),
        undo_attempts: 50,
        first_backoff: Duration::from_secs(10),
        longest_backoff: Duration::from_secs(600),
    }
}

/// Retries for longer than anything is out of order.
const fn persistent() -> RetryPolicy {
    RetryPolicy {
        immediate: 1,
        delayed: u32::MAX,
        first_delay: Duration::from_secs(5),
        longest_delay: Duration::from_secs(30),
        give_up_after: Duration::from_secs(24 * 3600),
        jitter: true,
    }
}

/// Nothing is in the error queue.
fn nothing_failed(effects: &Effects) -> Result<(), String> {
    let mut reasons = effects.reasons();
    match reasons.next() {
        Some(reason) => Err(format!(
            "{} messages failed for good, the first: {reason}",
            effects.failed()
        )),
        None => Ok(()),
    }
}
