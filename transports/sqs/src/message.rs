//! A message of ours as SQS holds it: the body as it is, and all that belongs to it in two attributes.
//!
//! | where | what |
//! |---|---|
//! | body | the message's own, where SQS takes all of its characters; else its base64 |
//! | attribute `longhaul.id` | the message id; as a JSON string where it begins with a quote or SQS refuses a character of it |
//! | attribute `longhaul.message` | JSON: version, headers, how the body is written, and the attributes of others that are not text |
//!
//! A body is decoded only where our own attribute says so: one that merely looks like base64 stays as it is.

use base64::{Engine, prelude::BASE64_STANDARD};
use longhaul_core::envelope::{Envelope, Native};
use serde::{Deserialize, Serialize};

use crate::text;

/// The attribute that holds the id.
pub(crate) const ID: &str = "longhaul.id";
/// The attribute that holds everything else.
pub(crate) const MESSAGE: &str = "longhaul.message";
/// The version of the form.
pub(crate) const VERSION: u32 = 1;
/// The type of an attribute that is text.
pub(crate) const TEXT: &str = "String";
/// The body that stands for an empty one, which SQS refuses.
const EMPTY: &str = "-";

/// A message in the form of SQS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) body: String,
    /// Ours; or those of another program, where its message is moved on.
    pub(crate) attributes: Vec<Attribute>,
}

impl Written {
    /// What counts towards the limits of SQS and SNS.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + self.attributes.iter().map(Attribute::bytes).sum::<usize>()
    }

    /// The text of one attribute.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|attribute| attribute.name == name)?;
        found.text.as_deref()
    }

    /// The id, as it is written.
    pub(crate) fn id(&self) -> &str {
        self.text(ID).unwrap_or_default()
    }
}

/// What the attribute `longhaul.message` holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Packed {
    #[serde(rename = "v")]
    pub(crate) version: u32,
    #[serde(with = "pairs")]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Writing>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attributes: Vec<Attribute>,
}

/// How a body is written that SQS would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Writing {
    Base64,
    Empty,
}

/// An attribute: ours, or one of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
}

impl Attribute {
    /// One of ours.
    pub(crate) fn ours(name: &str, text: String) -> Self {
        Self {
            name: name.to_owned(),
            kind: TEXT.to_owned(),
            text: Some(text),
            base64: None,
        }
    }

    fn bytes(&self) -> usize {
        let base64 = self.base64.as_ref().map_or(0, |value| value.len() / 4 * 3);
        self.name.len() + self.kind.len() + self.text.as_ref().map_or(0, String::len) + base64
    }
}

/// What is kept of a message beside its headers, so that passing it on changes nothing.
#[derive(Debug)]
pub(crate) struct Came(pub(crate) Vec<Attribute>);

/// Whether the message is passed on and may be larger than what senders are held to.
pub(crate) fn is_passed_on(envelope: &Envelope) -> bool {
    envelope
        .native
        .as_ref()
        .and_then(Native::downcast::<Came>)
        .is_some()
}

/// Writes a message. Fails only where JSON does.
pub(crate) fn write(envelope: &Envelope) -> Result<Written, serde_json::Error> {
    let (body, writing) = match text::plain(&envelope.body) {
        Some(body) => (body.to_owned(), None),
        None if envelope.body.is_empty() => (EMPTY.to_owned(), Some(Writing::Empty)),
        None => (BASE64_STANDARD.encode(&envelope.body), Some(Writing::Base64)),
    };
    let came = envelope.native.as_ref().and_then(Native::downcast::<Came>);
    let packed = Packed {
        version: VERSION,
        headers: envelope
            .headers
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: writing,
        attributes: came.map(|came| came.0.clone()).unwrap_or_default(),
    };
    let id = envelope.id.as_str();
    let id = if id.starts_with('"') || text::plain(id.as_bytes()).is_none() {
        text::json(&id)?
    } else {
        id.to_owned()
    };
    let message = text::json(&packed)?;
    Ok(Written {
        body,
        attributes: vec![Attribute::ours(ID, id), Attribute::ours(MESSAGE, message)],
    })
}

/// The id that the attribute stands for.
pub(crate) fn read_id(written: &str) -> Vec<u8> {
    let quoted = written
        .starts_with('"')
        .then(|| serde_json::from_str::<String>(written));
    match quoted {
        Some(Ok(id)) => id.into_bytes(),
        Some(Err(_)) | None => written.as_bytes().to_vec(),
    }
}

/// The body that the text stands for; `None` where it is not of that writing.
pub(crate) fn read_body(text: &str, writing: Option<Writing>) -> Option<Vec<u8>> {
    match writing {
        None => Some(text.as_bytes().to_vec()),
        Some(Writing::Empty) => Some(Vec::new()),
        Some(Writing::Base64) => BASE64_STANDARD.decode(text).ok(),
    }
}

/// Headers as a JSON object, in which a name may stand twice: whoever reads the message decides about that.
mod pairs {
    use std::fmt;

    use serde::{
        Deserializer, Serializer,
        de::{MapAccess, Visitor},
    };

    pub(super) fn serialize<S: Serializer>(
        pairs: &[(String, String)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, String)>, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(String, String)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}
