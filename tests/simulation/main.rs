//! Simulations as a user writes them, through `longhaul::testing`.

#![expect(clippy::expect_used, reason = "a test fails where something goes wrong")]

mod late_delivery;

/// Whoever writes a transport finds all three suites here, and their macros.
mod suites {
    #[expect(unused_imports, reason = "they are there")]
    use longhaul::testing::{admin_contract_suite, store_contract_suite, transport_contract_suite};
    use longhaul::testing::{admin_suite, store_suite, transport_suite};

    const fn _fixtures(
        _: &dyn transport_suite::TransportFixture,
        _: &dyn store_suite::StoreFixture,
        _: &dyn admin_suite::AdminFixture,
    ) {
    }
}
