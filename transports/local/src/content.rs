//! What a message consists of, shared by all queues that hold it.

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

    /// The memory that it counts for, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let (headers, body) = match self {
            Self::Envelope(envelope) => (
                envelope
                    .headers
                    .iter()
                    .map(|(name, value)| name.len() + value.len())
                    .sum(),
                envelope.body.len(),
            ),
            Self::Raw(incoming) => (
                incoming
                    .headers
                    .iter()
                    .map(|(name, value)| name.len() + value.len())
                    .sum::<usize>(),
                incoming.body.len(),
            ),
        };
        self.id().map_or(0, <[u8]>::len) + headers + body
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
