//! Testing Longhaul sagas, transports and stores: scenarios and contract suites.

pub mod admin_suite;
pub mod scenario;
pub mod virtual_time;

pub mod store_suite;

pub mod transport_suite;
