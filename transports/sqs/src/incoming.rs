//! What came out of a queue, ours or not, as a message.
//!
//! In this order:
//!
//! 1. With the attribute `longhaul.message`: one of ours (see [`crate::message`]).
//! 2. With an attribute `type`: one of another program. It is the name of the message's type; the message id is that of
//!    SQS (or the attribute `id`), the intent `send` unless an attribute `intent` says `publish`, and the content type
//!    `application/json` unless an attribute `content-type` says otherwise. Other text attributes are headers.
//! 3. A notification of SNS without raw delivery: the same two rules for the message in it; the intent is `publish`.
//! 4. Anything else is handed out as it is, without an id. The core can't read it and moves it to the error queue.

use std::collections::BTreeMap;

use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use base64::{Engine, prelude::BASE64_STANDARD};
use longhaul_core::{
    clock::Timestamp,
    envelope::{Incoming, Native},
    headers,
};
use serde::Deserialize;

use crate::{
    message::{self, Attribute, Came, ID, MESSAGE, Packed, TEXT, VERSION},
    waiting::DELAY,
};

/// The attributes that other programs set.
pub(crate) const TYPE: &str = "type";
pub(crate) const FOREIGN_ID: &str = "id";
const INTENT: &str = "intent";
const CONTENT_TYPE: &str = "content-type";

/// A message and its attributes, wherever they stood.
struct Parcel {
    /// The broker's own id.
    id: String,
    body: String,
    attributes: BTreeMap<String, Attribute>,
    sent: Option<Timestamp>,
    intent: &'static str,
}

/// The message, and how often it was delivered before.
pub(crate) fn incoming(message: Message) -> (Incoming, u32) {
    let number = |name| {
        let values = message.attributes.as_ref();
        values
            .and_then(|values| values.get(&name))
            .and_then(|value| value.parse::<u64>().ok())
    };
    let count = number(MessageSystemAttributeName::ApproximateReceiveCount).unwrap_or(1);
    let redeliveries = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX);
    let sent = number(MessageSystemAttributeName::SentTimestamp)
        .and_then(|millis| i64::try_from(millis).ok())
        .map(|millis| Timestamp::from_micros(millis.saturating_mul(1000)));
    let attributes = message.message_attributes.unwrap_or_default();
    let parcel = Parcel {
        id: message.message_id.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        attributes: attributes
            .into_iter()
            .map(|(name, value)| (name.clone(), attribute(name, value)))
            .collect(),
        sent,
        intent: "send",
    };
    (read(parcel), redeliveries)
}

pub(crate) fn attribute(name: String, value: MessageAttributeValue) -> Attribute {
    Attribute {
        name,
        kind: value.data_type,
        text: value.string_value,
        base64: value.binary_value.map(|bytes| BASE64_STANDARD.encode(bytes)),
    }
}

fn read(parcel: Parcel) -> Incoming {
    let parcel = match ours(parcel) {
        Ok(incoming) => return incoming,
        Err(parcel) => parcel,
    };
    let parcel = match theirs(parcel) {
        Ok(incoming) => return incoming,
        Err(parcel) => parcel,
    };
    // Where what is in it is nobody's, the whole stays together.
    if let Some(inner) = notification(&parcel)
        && let Ok(incoming) = ours(inner).or_else(theirs)
    {
        return incoming;
    }
    as_it_is(parcel)
}

/// Rule 1.
fn ours(parcel: Parcel) -> Result<Incoming, Parcel> {
    let packed = parcel
        .attributes
        .get(MESSAGE)
        .and_then(|value| value.text.as_deref());
    let packed = packed.and_then(|text| serde_json::from_str::<Packed>(text).ok());
    let Some(packed) = packed.filter(|packed| packed.version == VERSION) else {
        return Err(parcel);
    };
    let Some(body) = message::read_body(&parcel.body, packed.body) else {
        return Err(parcel);
    };
    let id = parcel.attributes.get(ID).and_then(|value| value.text.as_deref());
    let id = id.map(message::read_id);
    let mut found: Vec<(String, Vec<u8>)> = packed
        .headers
        .into_iter()
        .map(|(name, value)| (name, value.into_bytes()))
        .collect();
    let mut kept = packed.attributes;
    let others = parcel.attributes.into_values();
    for other in others.filter(|other| ![ID, MESSAGE, DELAY].contains(&other.name.as_str())) {
        match other {
            Attribute {
                name,
                kind,
                text: Some(text),
                ..
            } if kind == TEXT => {
                // What was added on the way; a header of that name has the last word.
                if !found.iter().any(|(have, _)| *have == name) {
                    found.push((name, text.into_bytes()));
                }
            }
            other => kept.push(other),
        }
    }
    Ok(Incoming {
        id,
        headers: found,
        body: body.into(),
        native: Some(Native::new(Came(kept))),
    })
}

/// Rule 2.
fn theirs(mut parcel: Parcel) -> Result<Incoming, Parcel> {
    let is_typed = parcel
        .attributes
        .get(TYPE)
        .is_some_and(|value| value.text.as_deref().is_some_and(|text| !text.is_empty()));
    if !is_typed || parcel.attributes.contains_key(MESSAGE) {
        return Err(parcel);
    }
    let mut take = |name: &str| parcel.attributes.remove(name).and_then(|value| value.text);
    let id = take(FOREIGN_ID).unwrap_or_else(|| parcel.id.clone());
    let mut found = vec![
        (headers::TYPE, take(TYPE).unwrap_or_default()),
        (
            headers::INTENT,
            take(INTENT).unwrap_or_else(|| parcel.intent.to_owned()),
        ),
        (
            headers::CONTENT_TYPE,
            take(CONTENT_TYPE).unwrap_or_else(|| "application/json".to_owned()),
        ),
    ];
    if let Some(sent) = parcel.sent {
        found.push((headers::TIME_SENT, sent.to_string()));
    }
    let mut found: Vec<(String, Vec<u8>)> = found
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into_bytes()))
        .collect();
    let kept = spread(parcel.attributes, &mut found);
    Ok(Incoming {
        id: Some(id.into_bytes()),
        headers: found,
        body: parcel.body.into(),
        native: Some(Native::new(Came(kept))),
    })
}

/// Rule 4.
fn as_it_is(parcel: Parcel) -> Incoming {
    let id = parcel.attributes.get(ID).and_then(|value| value.text.as_deref());
    let id = id.map(message::read_id);
    let mut found = Vec::new();
    let kept = spread(parcel.attributes, &mut found);
    Incoming {
        id,
        headers: found,
        body: parcel.body.into(),
        native: Some(Native::new(Came(kept))),
    }
}

/// Texts become headers; the rest is kept beside them.
fn spread(attributes: BTreeMap<String, Attribute>, found: &mut Vec<(String, Vec<u8>)>) -> Vec<Attribute> {
    let mut kept = Vec::new();
    for attribute in attributes.into_values() {
        match attribute {
            Attribute {
                name,
                kind,
                text: Some(text),
                ..
            } if kind == TEXT => {
                if name != ID {
                    found.push((name, text.into_bytes()));
                }
            }
            other => kept.push(other),
        }
    }
    kept
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Notification {
    #[serde(rename = "Type")]
    kind: String,
    message_id: String,
    #[serde(rename = "TopicArn")]
    _topic: String,
    message: String,
    timestamp: Option<String>,
    #[serde(default)]
    message_attributes: BTreeMap<String, NotifiedAttribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NotifiedAttribute {
    #[serde(rename = "Type")]
    kind: String,
    value: String,
}

/// Rule 3: what is in an envelope of SNS.
fn notification(parcel: &Parcel) -> Option<Parcel> {
    if !parcel.body.starts_with('{') || !parcel.body.contains("\"TopicArn\"") {
        return None;
    }
    let notification: Notification = serde_json::from_str(&parcel.body).ok()?;
    if notification.kind != "Notification" {
        return None;
    }
    let attributes = notification.message_attributes.into_iter().map(|(name, value)| {
        let is_binary = value.kind.starts_with("Binary");
        let (text, base64) = if is_binary {
            (None, Some(value.value))
        } else {
            (Some(value.value), None)
        };
        let attribute = Attribute {
            name: name.clone(),
            kind: value.kind,
            text,
            base64,
        };
        (name, attribute)
    });
    Some(Parcel {
        id: notification.message_id,
        body: notification.message,
        attributes: attributes.collect(),
        sent: notification
            .timestamp
            .and_then(|text| Timestamp::parse(&text).ok())
            .or(parcel.sent),
        intent: "publish",
    })
}

#[cfg(test)]
mod tests;
