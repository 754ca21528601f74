//! The messages of both endpoints.

pub(crate) mod orders;
pub(crate) mod warehouse;
