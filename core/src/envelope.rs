//! A message as it travels: id, headers, body; and the strict reading of what a broker hands over.

mod reading;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::headers::{self, Headers};
use crate::ids::MessageId;
use crate::reason::Reason;

pub use reading::{Unreadable, read};

/// The bytes of a body; cheap to clone.
pub type Body = Bytes;

/// What the sender wants with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// A command, to its owner.
    Send,
    /// An event, to its subscribers.
    Publish,
    /// A reply, to whoever asked.
    Reply,
    /// An alarm, to its own endpoint.
    Timeout,
}

impl Intent {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Publish => "publish",
            Self::Reply => "reply",
            Self::Timeout => "timeout",
        }
    }

    /// Reads the word on the wire.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Send, Self::Publish, Self::Reply, Self::Timeout]
            .into_iter()
            .find(|intent| intent.as_str() == word)
    }
}

/// What a transport keeps of a message beside id, headers and body, so that passing it on changes nothing.
///
/// Opaque to everything but the transport that made it; never stored.
#[derive(Clone)]
pub struct Native(Arc<dyn Any + Send + Sync>);

impl Native {
    /// Wraps a transport's own properties.
    #[must_use]
    pub fn new<T: Any + Send + Sync>(properties: T) -> Self {
        Self(Arc::new(properties))
    }

    /// The properties, if they are of that type.
    #[must_use]
    pub fn downcast<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Native(..)")
    }
}

/// A message as it travels.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Names the message for good.
    pub id: MessageId,
    /// What it says about itself.
    pub headers: Headers,
    /// What it says.
    pub body: Bytes,
    /// The transport's own properties, kept when a message is passed on as it came.
    pub native: Option<Native>,
}

impl PartialEq for Envelope {
    /// Compares id, headers and body.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.headers == other.headers && self.body == other.body
    }
}

impl Envelope {
    /// A message of these three.
    #[must_use]
    pub const fn new(id: MessageId, headers: Headers, body: Bytes) -> Self {
        Self {
            id,
            headers,
            body,
            native: None,
        }
    }

    /// The type names, most specific first; at most eight.
    ///
    /// # Errors
    /// More than eight names.
    pub fn types(&self) -> Result<Vec<&str>, Unreadable> {
        const MOST: usize = 8;
        let Some(list) = self.headers.get(headers::TYPE) else {
            return Ok(Vec::new());
        };
        let names: Vec<&str> = list
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .take(MOST + 1)
            .collect();
        if names.len() > MOST {
            return Err(Unreadable::new(
                Reason::BadHeader,
                "the type header lists more than eight types",
            ));
        }
        Ok(names)
    }

    /// What the sender wants.
    ///
    /// # Errors
    /// No intent, or an unknown one.
    pub fn intent(&self) -> Result<Intent, Unreadable> {
        let word = self.headers.get(headers::INTENT).unwrap_or_default();
        Intent::parse(word).ok_or_else(|| {
            Unreadable::new(
                Reason::BadHeader,
                format!("the intent {word:?} is not one of ours"),
            )
        })
    }

    /// Whether the body is here. One that was kept elsewhere and not read back is not; such a message can still be passed
    /// on as it is.
    ///
    /// # Errors
    /// [`Reason::MissingBody`].
    pub fn check_body(&self) -> Result<(), Unreadable> {
        if self.headers.get(headers::BODY).is_none() {
            return Ok(());
        }
        Err(Unreadable::new(
            Reason::MissingBody,
            "its body was kept elsewhere and is gone, or this endpoint has no `ClaimCheck` around its transport",
        ))
    }

    /// When it is to be handled, where that was asked for.
    ///
    /// # Errors
    /// A time that is not of the strict form.
    pub fn due(&self) -> Result<Option<Timestamp>, Unreadable> {
        let Some(text) = self.headers.get(headers::DUE) else {
            return Ok(None);
        };
        Timestamp::parse(text)
            .map(Some)
            .map_err(|fault| Unreadable::new(Reason::BadDelay, fault.to_string()))
    }

    /// When it was sent, where that can be read.
    #[must_use]
    pub fn time_sent(&self) -> Option<Timestamp> {
        self.headers
            .get(headers::TIME_SENT)
            .and_then(|text| Timestamp::parse(text).ok())
    }

    /// The header's value as a whole number; anything else counts as absent.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.headers.get(name).and_then(|text| text.parse().ok())
    }
}

/// A message as a broker hands it over, not yet checked.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The message id's bytes, if there was one.
    pub id: Option<Vec<u8>>,
    /// Names and values as they came; a name may stand twice.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Bytes,
    /// The transport's own properties.
    pub native: Option<Native>,
}

impl From<Envelope> for Incoming {
    fn from(envelope: Envelope) -> Self {
        Self {
            id: Some(envelope.id.as_str().as_bytes().to_vec()),
            headers: envelope
                .headers
                .iter()
                .map(|(n, v)| (n.to_owned(), v.as_bytes().to_vec()))
                .collect(),
            body: envelope.body,
            native: envelope.native,
        }
    }
}
