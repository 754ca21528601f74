//! Runs the examples as a newcomer would, and checks what they print. Situations of their parts are beside those.

#![expect(clippy::expect_used, reason = "a test fails where something goes wrong")]
#![cfg_attr(
    all(feature = "testing", feature = "rabbitmq"),
    expect(clippy::duplicate_mod, reason = "the programs of an example share files")
)]

mod program;

mod marketplace;
mod order_fulfilment;
#[cfg(feature = "testing")]
mod simulated;
mod tours;

// The parts of the marketplace, for the tests in them.
#[expect(dead_code, reason = "the example uses it all, its tests do not")]
#[path = "../../examples/marketplace/effects.rs"]
mod effects;
#[expect(dead_code, reason = "the example uses it all, its tests do not")]
#[path = "../../examples/marketplace/feed.rs"]
mod feed;
#[path = "../../examples/marketplace/messages.rs"]
mod messages;
#[path = "../../examples/marketplace/orders.rs"]
mod orders;
#[path = "../../examples/marketplace/pace.rs"]
mod pace;
#[path = "../../examples/marketplace/saga.rs"]
mod saga;
#[path = "../../examples/marketplace/summary.rs"]
mod summary;
#[path = "../../examples/marketplace/truth.rs"]
mod truth;

// The parts of the demonstration, for the tests in them.
#[path = "../../examples/order_fulfilment/summary.rs"]
mod fulfilment_summary;
#[expect(dead_code, reason = "the example uses it all, its tests do not")]
#[path = "../../examples/order_fulfilment/ledger.rs"]
mod ledger;
