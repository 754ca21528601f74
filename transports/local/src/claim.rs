//! One broker per database: a second one would deliver the same messages again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use longhaul_core::transport::{TransportError, TransportErrorKind};
use longhaul_embedded::Database;

/// The databases that have a broker in this process; a database has one process by itself.
static CLAIMED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// While it lives, no other broker opens on the same database.
#[derive(Debug)]
pub(crate) struct Claim(PathBuf);

impl Claim {
    pub(crate) fn new(database: &Database) -> Result<Self, TransportError> {
        let path = database.path().to_owned();
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.insert(path.clone()) {
            return Ok(Self(path));
        }
        Err(TransportError::new(
            TransportErrorKind::InUse,
            format!(
                "open the broker in {}: it is open already; clone that one, or drop it and all that came from it first",
                path.display()
            ),
        ))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.0);
    }
}
