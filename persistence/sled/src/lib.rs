//! The embedded store of Longhaul, on sled.
