//! Ours come back as they were; what other programs put in is read by the documented rules.

use aws_sdk_sqs::{primitives::Blob, types::MessageAttributeValue};
use bytes::Bytes;
use longhaul_core::{
    envelope::{Envelope, read as read_strictly},
    headers::Headers,
    ids::MessageId,
    limits::Limits,
};
use proptest::prelude::*;

use super::*;
use crate::message::write;

fn text(value: &str) -> MessageAttributeValue {
    typed(TEXT, value)
}

fn typed(kind: &str, value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder()
        .data_type(kind)
        .string_value(value)
        .build()
        .unwrap()
}

fn message(body: &str, attributes: &[(&str, MessageAttributeValue)]) -> Message {
    let mut message = Message::builder().message_id("sqs-id").body(body);
    for (name, value) in attributes {
        message = message.message_attributes(*name, value.clone());
    }
    message
        .attributes(MessageSystemAttributeName::ApproximateReceiveCount, "3")
        .attributes(MessageSystemAttributeName::SentTimestamp, "1763719200000")
        .build()
}

fn came(body: &str, attributes: &[(&str, MessageAttributeValue)]) -> Incoming {
    incoming(message(body, attributes)).0
}

fn header<'a>(incoming: &'a Incoming, name: &str) -> Option<&'a str> {
    let found = incoming.headers.iter().find(|(have, _)| have == name);
    found.and_then(|(_, value)| std::str::from_utf8(value).ok())
}

fn sent(envelope: &Envelope) -> Message {
    let written = write(envelope).unwrap();
    message(
        &written.body,
        &[
            (ID, text(written.id())),
            (MESSAGE, text(written.text(MESSAGE).unwrap())),
        ],
    )
}

#[test]
fn when_another_program_names_the_type_the_message_is_read() {
    let attributes = [
        ("type", text("sales.order_placed.v1")),
        ("tenant", text("acme")),
        ("count", typed("Number", "7")),
    ];
    let (incoming, redeliveries) = incoming(message("{}", &attributes));
    assert_eq!(redeliveries, 2);
    assert_eq!(incoming.id.as_deref(), Some(&b"sqs-id"[..]));
    let envelope = read_strictly(&incoming, &Limits::default()).unwrap();
    assert_eq!(envelope.types().unwrap(), ["sales.order_placed.v1"]);
    assert_eq!(envelope.headers.get(headers::INTENT), Some("send"));
    assert_eq!(
        envelope.headers.get(headers::CONTENT_TYPE),
        Some("application/json")
    );
    assert_eq!(
        envelope.headers.get(headers::TIME_SENT),
        Some("2025-11-21T10:00:00Z")
    );
    assert_eq!(envelope.headers.get("tenant"), Some("acme"));
}

#[test]
fn when_another_program_says_more_it_is_taken_at_its_word() {
    let attributes = [
        ("type", text("t")),
        ("id", text("their-id")),
        ("intent", text("publish")),
        ("content-type", text("text/plain")),
    ];
    let incoming = came("x", &attributes);
    assert_eq!(incoming.id.as_deref(), Some(&b"their-id"[..]));
    assert_eq!(header(&incoming, headers::INTENT), Some("publish"));
    assert_eq!(header(&incoming, headers::CONTENT_TYPE), Some("text/plain"));
    assert_eq!(header(&incoming, "type"), None, "it is said once");
}

#[test]
fn when_nothing_names_the_type_the_message_is_handed_out_as_it_is() {
    let body = "bm90IG91cnM=";
    let incoming = came(body, &[("tenant", text("acme"))]);
    assert_eq!(incoming.id, None);
    assert_eq!(incoming.body, Bytes::from_static(body.as_bytes()));
    assert_eq!(incoming.headers, [("tenant".to_owned(), b"acme".to_vec())]);
}

#[test]
fn when_our_attribute_is_broken_the_message_is_handed_out_as_it_is() {
    for broken in [
        "{",
        r#"{"v":2,"headers":{}}"#,
        r#"{"v":1,"headers":{"a":1}}"#,
        r#"{"v":1,"headers":{},"body":"base64"}"#,
    ] {
        let incoming = came("not base64!", &[(ID, text("m-1")), (MESSAGE, text(broken))]);
        assert_eq!(incoming.id.as_deref(), Some(&b"m-1"[..]));
        assert_eq!(incoming.body, Bytes::from_static(b"not base64!"));
        assert_eq!(header(&incoming, MESSAGE), Some(broken));
    }
}

#[test]
fn when_a_header_stands_twice_both_are_told() {
    let twice = r#"{"v":1,"headers":{"a":"1","a":"2"}}"#;
    let incoming = came("{}", &[(ID, text("m-1")), (MESSAGE, text(twice))]);
    assert_eq!(incoming.headers.len(), 2);
    assert!(read_strictly(&incoming, &Limits::default()).is_err());
}

fn notification_of(attributes: &str) -> String {
    format!(
        r#"{{"Type":"Notification","MessageId":"sns-id","TopicArn":"arn:aws:sns:r:0:t","Message":"{{}}","Timestamp":"2026-11-21T10:00:00.123Z"{attributes}}}"#
    )
}

#[test]
fn when_sns_wraps_a_message_it_is_taken_out_if_it_says_what_it_is() {
    let typed = r#","MessageAttributes":{"type":{"Type":"String","Value":"a.b.v1"}}"#;
    let incoming = came(&notification_of(typed), &[]);
    assert_eq!(incoming.id.as_deref(), Some(&b"sns-id"[..]));
    assert_eq!(header(&incoming, headers::TYPE), Some("a.b.v1"));
    assert_eq!(header(&incoming, headers::INTENT), Some("publish"));
    assert_eq!(
        header(&incoming, headers::TIME_SENT),
        Some("2026-11-21T10:00:00.123Z")
    );
    assert_eq!(incoming.body, Bytes::from_static(b"{}"));

    let whole = notification_of("");
    let incoming = came(&whole, &[]);
    assert_eq!(incoming.id, None);
    assert_eq!(incoming.body, Bytes::from(whole));
}

#[test]
fn when_a_foreign_message_is_passed_on_nothing_of_it_is_lost() {
    let bytes = MessageAttributeValue::builder()
        .data_type("Binary.png")
        .binary_value(Blob::new(vec![0, 255]))
        .build()
        .unwrap();
    let attributes = [
        ("type", text("t")),
        ("count", typed("Number", "7")),
        ("picture", bytes),
    ];
    let first = read_strictly(&came("x", &attributes), &Limits::default()).unwrap();
    let again = read_strictly(&incoming(sent(&first)).0, &Limits::default()).unwrap();
    assert_eq!(again, first);
    let kept = again.native.as_ref().and_then(Native::downcast::<Came>).unwrap();
    let kinds: Vec<_> = kept.0.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(kinds, ["Number", "Binary.png"]);
    assert_eq!(kept.0[1].base64.as_deref(), Some("AP8="));
}

proptest! {
    #[test]
    fn whatever_is_sent_comes_back_as_it_was_and_is_allowed(
        id in "[^\\p{Cc}]{1,40}",
        pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..10),
        body in prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)],
    ) {
        prop_assume!(id.len() <= MessageId::MAX_BYTES);
        let pairs = pairs.into_iter().filter(|(name, _)| !name.is_empty());
        let headers: Headers = pairs.collect();
        let envelope = Envelope::new(MessageId::new(&id).unwrap(), headers, body.into());
        let written = write(&envelope).unwrap();
        for text in [&written.body[..], written.id(), written.text(MESSAGE).unwrap()] {
            prop_assert!(!text.is_empty() && text.chars().all(crate::text::is_allowed));
        }
        let (incoming, _) = incoming(sent(&envelope));
        prop_assert_eq!(incoming.id.as_deref(), Some(id.as_bytes()));
        prop_assert_eq!(&incoming.body, &envelope.body);
        let expected: Vec<_> = envelope.headers.iter()
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
        prop_assert_eq!(incoming.headers, expected);
    }
}
