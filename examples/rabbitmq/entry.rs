//! What the pretend payment gateway writes down.

use serde::{Deserialize, Serialize};

/// Money that moved.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) order: String,
    /// Taken from the customer; less than zero: given back.
    pub(crate) cents: i64,
}
