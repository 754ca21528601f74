//! Longhaul: sagas over message brokers.
