//! An in-memory store for Longhaul tests, examples and simulations.
