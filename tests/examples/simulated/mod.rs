//! The examples' own sagas and handlers under crashes, duplicates, races and failing calls.

mod first_message;
mod knock_knock;
mod marketplace;
mod order_fulfilment;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "host")]
mod rehearsal;
#[cfg(feature = "sqs")]
mod sqs;
mod timeouts;

/// How many schedules each example goes through.
const SCHEDULES: u64 = 200;

use longhaul::testing::Effects;

/// Whatever goes wrong for two minutes is no reason to give a message up.
fn nothing_failed(effects: &Effects) -> Result<(), String> {
    let reasons: Vec<&str> = effects.reasons().collect();
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(format!("in the error queue for {reasons:?}"))
    }
}
