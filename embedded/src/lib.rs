//! The one embedded sled database of a Longhaul process: one writer thread, group commit, own sync, recovery.
