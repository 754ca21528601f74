//! A failed message as one line of JSON: what an export writes, and an import or a rehearsal reads.
//!
//! ```
//! use longhaul_record::Record;
//!
//! let line = r#"{"longhaul_export":1,"id":"m-1","headers":[["longhaul.type","sales.place_order.v1"]],"body":"{}"}"#;
//! let incoming = Record::parse(line)?.into_incoming()?;
//! assert_eq!(&incoming.body[..], b"{}");
//! # Ok::<(), longhaul_record::BadRecord>(())
//! ```

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use longhaul_core::address::Address;
use longhaul_core::admin::Waits;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Incoming;
use serde::{Deserialize, Serialize};

/// The version that is written. Every version ever released stays readable.
const VERSION: u32 = 1;

/// One message as it lay in the error queue, as a line of JSON.
///
/// Properties that only its broker knows (tables of AMQP, for one) are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The version of this form.
    longhaul_export: u32,
    /// The message's id.
    id: Option<Content>,
    /// Its headers, with a name twice where it came twice.
    headers: Vec<(String, Content)>,
    /// Its body.
    body: Content,
    /// The queue that a delayed message is meant for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Address>,
    /// When a delayed message is to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<Timestamp>,
}

/// Bytes: as text where they are UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Bytes { base64: String },
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes {
                base64: BASE64_STANDARD.encode(bytes),
            },
        }
    }

    fn into_bytes(self) -> Result<Vec<u8>, BadRecord> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Bytes { base64 } => BASE64_STANDARD
                .decode(base64)
                .map_err(|error| BadRecord(format!("its base64 can't be read: {error}"))),
        }
    }
}

impl Record {
    /// The message as a record.
    #[must_use]
    pub fn of(incoming: &Incoming) -> Self {
        let headers = incoming.headers.iter();
        Self {
            longhaul_export: VERSION,
            id: incoming.id.as_deref().map(Content::of),
            headers: headers
                .map(|(name, value)| (name.clone(), Content::of(value)))
                .collect(),
            body: Content::of(&incoming.body),
            to: None,
            due: None,
        }
    }

    /// The same, delayed.
    #[must_use]
    pub fn waiting(self, waits: &Waits) -> Self {
        Self {
            to: Some(waits.to.clone()),
            due: Some(waits.due),
            ..self
        }
    }

    /// What a delayed message waits for; `None` for a message that failed.
    #[must_use]
    pub fn waits(&self) -> Option<Waits> {
        Some(Waits {
            to: self.to.clone()?,
            due: self.due?,
        })
    }

    /// The line, without its end.
    ///
    /// # Errors
    /// None that these types have; JSON's own.
    pub fn to_line(&self) -> Result<String, BadRecord> {
        serde_json::to_string(self).map_err(|error| BadRecord(error.to_string()))
    }

    /// Reads a line.
    ///
    /// # Errors
    /// It is not a record, or one of a newer version.
    pub fn parse(line: &str) -> Result<Self, BadRecord> {
        let record: Self = serde_json::from_str(line)
            .map_err(|error| BadRecord(format!("it is not an exported message: {error}")))?;
        if record.longhaul_export != VERSION {
            let found = record.longhaul_export;
            return Err(BadRecord(format!(
                "it is of version {found}, and this program reads {VERSION}; use the one that wrote it, or a newer one"
            )));
        }
        Ok(record)
    }

    /// The message.
    ///
    /// # Errors
    /// Its base64 can't be read.
    pub fn into_incoming(self) -> Result<Incoming, BadRecord> {
        let headers = self.headers.into_iter();
        Ok(Incoming {
            id: self.id.map(Content::into_bytes).transpose()?,
            headers: headers
                .map(|(name, value)| Ok((name, value.into_bytes()?)))
                .collect::<Result<_, BadRecord>>()?,
            body: self.body.into_bytes()?.into(),
            native: None,
        })
    }
}

/// Why a line is not a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord(String);

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadRecord {}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn when_a_message_is_written_it_reads_back_whatever_is_in_it() {
        let odd = Incoming {
            id: Some(vec![0xff, 1]),
            headers: vec![
                ("a".to_owned(), b"one\nline\x00".to_vec()),
                ("a".to_owned(), vec![0xfe]),
            ],
            body: Bytes::from_static(b"\x80\x81"),
            native: None,
        };
        let line = Record::of(&odd).to_line().expect("written");
        assert!(!line.contains('\n'));
        let back = Record::parse(&line)
            .expect("read")
            .into_incoming()
            .expect("bytes");
        assert_eq!(
            (back.id, back.headers, back.body),
            (odd.id, odd.headers, odd.body)
        );
    }

    #[test]
    fn when_a_delayed_message_is_written_it_says_where_it_goes_and_when() {
        let waits = Waits {
            to: Address::new("billing").expect("an address"),
            due: Timestamp::parse("2031-11-21T00:00:00Z").expect("a time"),
        };
        let message = Incoming {
            id: Some(b"m-1".to_vec()),
            headers: Vec::new(),
            body: Bytes::from_static(b"{}"),
            native: None,
        };
        let line = Record::of(&message).waiting(&waits).to_line().expect("written");
        assert_eq!(Record::parse(&line).expect("read").waits(), Some(waits));
        let failed = Record::of(&message);
        assert_eq!(failed.waits(), None);
        assert!(!failed.to_line().expect("written").contains("due"));
    }

    #[test]
    fn when_a_line_is_something_else_it_is_refused() {
        let newer = r#"{"longhaul_export":2,"id":"a","headers":[],"body":""}"#;
        assert!(
            Record::parse(newer)
                .expect_err("newer")
                .to_string()
                .contains("version 2")
        );
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"longhaul_export":1,"id":"a","headers":[],"body":"","x":1}"#,
        ] {
            assert!(Record::parse(bad).is_err(), "{bad}");
        }
        let bad = r#"{"longhaul_export":1,"id":"a","headers":[],"body":{"base64":"!"}}"#;
        assert!(Record::parse(bad).expect("the form").into_incoming().is_err());
    }
}
