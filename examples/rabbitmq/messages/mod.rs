//! What the endpoints say to each other: a file for each owner, so that a program takes only what it uses.

pub(crate) mod billing;
pub(crate) mod sales;
pub(crate) mod shipping;
