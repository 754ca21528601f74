//! A message in one queue, and what is stored of its progress.

use std::sync::Arc;

use longhaul_core::clock::Timestamp;

use crate::content::Content;
use crate::stored::StoredProgress;

/// A message in one queue.
#[derive(Debug)]
pub(crate) struct Message {
    /// Names it within its queue; grows in the order of acceptance.
    pub(crate) sequence: u64,
    pub(crate) content: Arc<Content>,
    /// Not before this time.
    pub(crate) due: Option<Timestamp>,
    /// How often it was handed out.
    pub(crate) deliveries: u32,
    /// It was there when the broker was opened, and is not counted since.
    pub(crate) recovered: bool,
    /// Its progress is stored.
    pub(crate) noted: bool,
}

impl Message {
    /// Its progress, as it is to be stored, once it is handed out as often as that.
    pub(crate) fn note(&mut self, deliveries: u32) -> Note {
        self.noted = true;
        Note {
            sequence: self.sequence,
            progress: StoredProgress::new(deliveries, self.due),
        }
    }
}

/// Progress of one message that a durable broker stores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub(crate) sequence: u64,
    pub(crate) progress: StoredProgress,
}
