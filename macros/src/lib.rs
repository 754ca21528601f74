//! Derives for Longhaul messages.
