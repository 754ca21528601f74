//! Benchmarks of Longhaul against a raw client.
