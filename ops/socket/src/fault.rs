//! Why something was not done, as it travels: what failed, which kind of error it was, and its words.

use longhaul_core::store::{StoreError, StoreErrorKind};
use longhaul_core::transport::{TransportError, TransportErrorKind};
use serde::{Deserialize, Serialize};

/// Why something was not done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    of: Of,
    kind: String,
    text: String,
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Of {
    Transport,
    Store,
    Socket,
}

const TRANSPORT_KINDS: [(&str, TransportErrorKind); 10] = [
    ("unroutable", TransportErrorKind::Unroutable),
    ("rejected", TransportErrorKind::Rejected),
    ("unknown", TransportErrorKind::Unknown),
    ("invalid", TransportErrorKind::Invalid),
    ("disconnected", TransportErrorKind::Disconnected),
    ("topology", TransportErrorKind::Topology),
    ("in-use", TransportErrorKind::InUse),
    ("denied", TransportErrorKind::Denied),
    ("configuration", TransportErrorKind::Configuration),
    ("closed", TransportErrorKind::Closed),
];

const STORE_KINDS: [(&str, StoreErrorKind); 11] = [
    ("conflict", StoreErrorKind::Conflict),
    ("unknown", StoreErrorKind::Unknown),
    ("unavailable", StoreErrorKind::Unavailable),
    ("refused", StoreErrorKind::Refused),
    ("unreadable", StoreErrorKind::Unreadable),
    ("failed", StoreErrorKind::Failed),
    ("full", StoreErrorKind::Full),
    ("in-use", StoreErrorKind::InUse),
    ("damaged", StoreErrorKind::Damaged),
    ("newer", StoreErrorKind::Newer),
    ("configuration", StoreErrorKind::Configuration),
];

fn word<K: Copy + PartialEq>(kinds: &[(&'static str, K)], kind: K) -> String {
    let found = kinds.iter().find(|(_, known)| *known == kind);
    found.map_or("unknown", |(word, _)| word).to_owned()
}

fn kind<K: Copy>(kinds: &[(&'static str, K)], word: &str) -> Option<K> {
    kinds
        .iter()
        .find(|(known, _)| *known == word)
        .map(|(_, kind)| *kind)
}

impl Fault {
    /// The socket itself, and not what is behind it.
    pub(crate) fn socket(text: impl Into<String>) -> Self {
        Self {
            of: Of::Socket,
            kind: String::new(),
            text: text.into(),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the socket itself is meant.
    pub(crate) fn is_of_socket(&self) -> bool {
        self.of == Of::Socket
    }

    pub(crate) fn into_transport(self) -> TransportError {
        let kind = match self.of {
            Of::Transport => kind(&TRANSPORT_KINDS, &self.kind),
            Of::Store | Of::Socket => None,
        };
        TransportError::new(kind.unwrap_or(TransportErrorKind::Closed), self.text)
    }

    pub(crate) fn into_store(self) -> StoreError {
        let kind = match self.of {
            Of::Store => kind(&STORE_KINDS, &self.kind),
            Of::Transport | Of::Socket => None,
        };
        StoreError::new(kind.unwrap_or(StoreErrorKind::Unavailable), self.text)
    }
}

impl From<TransportError> for Fault {
    fn from(error: TransportError) -> Self {
        Self {
            of: Of::Transport,
            kind: word(&TRANSPORT_KINDS, error.kind()),
            text: error.to_string(),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self {
            of: Of::Store,
            kind: word(&STORE_KINDS, error.kind()),
            text: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_an_error_travels_it_keeps_its_kind_and_its_words() {
        for (_, kind) in TRANSPORT_KINDS {
            let back = Fault::from(TransportError::new(kind, "why")).into_transport();
            assert_eq!((back.kind(), back.to_string().as_str()), (kind, "why"));
        }
        for (_, kind) in STORE_KINDS {
            let back = Fault::from(StoreError::new(kind, "why")).into_store();
            assert_eq!((back.kind(), back.to_string().as_str()), (kind, "why"));
        }
    }
}
