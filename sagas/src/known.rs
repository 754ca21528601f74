//! The message types that a saga takes, by wire name.

use std::collections::BTreeSet;

/// The wire names that stand in the table of a saga.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) saga: &'static str,
    pub(crate) types: BTreeSet<&'static str>,
}
