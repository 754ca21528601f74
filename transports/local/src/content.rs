//! What a message consists of, shared by all queues that hold it.

use bytes::Bytes;
use longhaul_core::envelope::{Envelope, Incoming};

/// A message as it was handed in: never changed, only copied out.
#[derive(Debug)]
pub(crate) enum Content {
    /// From a sender of ours.
    Envelope(Envelope),
    /// Put in as it is, whatever it is.
    Raw(Incoming),
}

impl Content {
    /// The id's bytes.
    pub(crate) fn id(&self) -> Option<&[u8]> {
        match self {
            Self::Envelope(envelope) => Some(envelope.id.as_str().as_bytes()),
            Self::Raw(incoming) => incoming.id.as_deref(),
        }
    }

    /// The id for people.
    pub(crate) fn shown_id(&self) -> String {
        let id = self.id().map(|id| id.escape_ascii().to_string());
        id.unwrap_or_else(|| "without an id".to_owned())
    }

    /// The body.
    pub(crate) const fn body(&self) -> &Bytes {
        match self {
            Self::Envelope(envelope) => &envelope.body,
            Self::Raw(incoming) => &incoming.body,
        }
    }

    /// The memory that it counts for, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let headers: usize = match self {
            Self::Envelope(envelope) => {
                let headers = envelope.headers.iter();
                headers.map(|(name, value)| name.len() + value.len()).sum()
            }
            Self::Raw(incoming) => {
                let headers = incoming.headers.iter();
                headers.map(|(name, value)| name.len() + value.len()).sum()
            }
        };
        self.id().map_or(0, <[u8]>::len) + headers + self.body().len()
    }

    /// A copy to hand out.
    pub(crate) fn incoming(&self) -> Incoming {
        match self {
            Self::Envelope(envelope) => Incoming {
                id: Some(envelope.id.as_str().into()),
                headers: envelope
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
                    .collect(),
                body: envelope.body.clone(),
                native: None,
            },
            Self::Raw(incoming) => Incoming {
                native: None,
                ..incoming.clone()
            },
        }
    }
}
