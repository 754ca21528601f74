//! Messages of other programs, well-formed and not.

use std::collections::BTreeMap;

use lapin::{
    BasicProperties,
    types::{AMQPValue, DecimalValue, FieldArray, FieldTable},
};
use longhaul_core::{
    envelope::{Envelope, read},
    headers,
    ids::MessageId,
    limits::Limits,
    reason::Reason,
    transport::{Accepted, Destination, Dispatch, Receiver, ReceiverOptions, Transport},
};

use crate::support::{
    messages::{Received, next, send},
    raw::Raw,
    scratch::scratch,
    wild,
};

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    FieldTable::from(
        entries
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect::<BTreeMap<_, _>>(),
    )
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn reason(received: &Received) -> Reason {
    read(&received.incoming, &Limits::default())
        .expect_err("it can't be read")
        .reason()
}

async fn receiver(transport: &dyn Transport, queue: &longhaul_core::address::Address) -> Box<dyn Receiver> {
    transport
        .receiver(
            queue,
            ReceiverOptions {
                prefetch: 1,
                exclusive: false,
            },
        )
        .await
        .unwrap()
}

#[tokio::test]
async fn when_properties_and_scalars_are_of_amqps_own_types_they_become_headers() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let properties = BasicProperties::default()
            .with_message_id("foreign-1".into())
            .with_content_type("application/json".into())
            .with_type("their.type.v1".into())
            .with_correlation_id("asked".into())
            .with_reply_to("them".into())
            .with_headers(table(&[
                ("text", text("ü")),
                ("yes", AMQPValue::Boolean(true)),
                ("small", AMQPValue::ShortShortInt(-8)),
                ("big", AMQPValue::LongLongInt(i64::MIN)),
                ("real", AMQPValue::Double(1.5)),
                (
                    "money",
                    AMQPValue::DecimalValue(DecimalValue {
                        scale: 2,
                        value: 1999,
                    }),
                ),
                ("at", AMQPValue::Timestamp(86_400)),
                ("never", AMQPValue::Void),
                ("list", AMQPValue::FieldArray(FieldArray::from(vec![text("a")]))),
                ("table", AMQPValue::FieldTable(table(&[("inner", text("b"))]))),
            ]));
        Raw::connect()
            .await
            .publish(queue.as_str(), b"{}", properties)
            .await;
        let mut receiver = receiver(&transport, &queue).await;
        let got = next(&mut receiver).await;
        let envelope = read(&got.incoming, &Limits::default()).unwrap();
        let mut found: Vec<_> = envelope.headers.iter().collect();
        found.sort_unstable();
        let mut expected = [
            (headers::CONTENT_TYPE, "application/json"),
            (headers::TYPE, "their.type.v1"),
            (headers::CORRELATION, "asked"),
            (headers::REPLY_TO, "them"),
            ("text", "ü"),
            ("yes", "true"),
            ("small", "-8"),
            ("big", "-9223372036854775808"),
            ("real", "1.5"),
            ("money", "1999e-2"),
            ("at", "1970-01-02T00:00:00Z"),
        ];
        expected.sort_unstable();
        assert_eq!(found, expected);
        got.done().await;
    })
    .await;
}

/// Headers that stay as they are when a message is passed on.
fn kept() -> [(&'static str, AMQPValue); 3] {
    let nested = AMQPValue::FieldArray(vec![AMQPValue::Void].into());
    [
        ("bytes", AMQPValue::LongString(vec![0xff, 0xfe].into())),
        ("count", AMQPValue::LongInt(7)),
        ("nested", AMQPValue::FieldTable(table(&[("inner", nested)]))),
    ]
}

/// A message with everything that a foreign program may set.
fn foreign(copy_to: &str) -> BasicProperties {
    let mut headers = kept().to_vec();
    headers.push(("CC", AMQPValue::FieldArray(vec![text(copy_to)].into())));
    headers.push(("changed", AMQPValue::LongInt(1)));
    headers.push(("removed", text("x")));
    headers.push(("x-death", AMQPValue::FieldArray(FieldArray::default())));
    BasicProperties::default()
        .with_message_id("foreign-2".into())
        .with_content_encoding("identity".into())
        .with_priority(3)
        .with_timestamp(77)
        .with_app_id("theirs".into())
        .with_user_id("guest".into())
        .with_expiration("60000".into())
        .with_headers(table(&headers))
}

#[tokio::test]
async fn when_a_foreign_message_is_passed_on_nothing_of_it_changes_but_what_would_harm() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let (raw, error) = (Raw::connect().await, scratch.queue("error"));
        raw.declare(error.as_str(), &[]).await.unwrap();
        let properties = foreign(scratch.queue("copy").as_str());
        raw.publish(queue.as_str(), b"\xff\x00body", properties).await;
        let mut receiver = receiver(&transport, &queue).await;
        let got = next(&mut receiver).await;
        let mut envelope: Envelope = read(&got.incoming, &Limits::default()).unwrap();
        envelope.headers.set("changed", "2");
        envelope.headers.remove("removed");
        envelope.headers.set(headers::ERROR_REASON, "bad-body");
        let copy = Dispatch {
            envelope,
            to: Destination::Queue(error.clone()),
            due: None,
        };
        assert_eq!(send(&transport, copy).await, Ok(Accepted::Queued));
        got.done().await;

        let passed = raw.get(error.as_str()).await.unwrap();
        assert_eq!(passed.data, b"\xff\x00body");
        let headers = passed.properties.headers().clone().unwrap();
        let mut expected = table(&kept());
        expected.insert("changed".into(), text("2"));
        expected.insert(headers::ERROR_REASON.into(), text("bad-body"));
        // A copy must not be copied further, but an operator may want to know.
        let copies = AMQPValue::FieldArray(vec![text(scratch.queue("copy").as_str())].into());
        expected.insert("longhaul.escaped.CC".into(), copies);
        assert_eq!(headers, expected);
        let unharmed = foreign("").with_headers(headers).with_delivery_mode(2);
        assert_eq!(passed.properties.message_id(), unharmed.message_id());
        assert_eq!(passed.properties.content_encoding(), unharmed.content_encoding());
        assert_eq!(passed.properties.priority(), unharmed.priority());
        assert_eq!(passed.properties.timestamp(), unharmed.timestamp());
        assert_eq!(passed.properties.app_id(), unharmed.app_id());
        assert_eq!(passed.properties.delivery_mode(), unharmed.delivery_mode());
        assert_eq!(
            (passed.properties.user_id(), passed.properties.expiration()),
            (&None, &None)
        );
    })
    .await;
}

#[tokio::test]
async fn when_the_message_id_is_missing_or_empty_or_not_text_the_message_comes_and_can_be_put_aside() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let mut receiver = receiver(&transport, &queue).await;
        for (flags, properties, expected) in [
            (0, Vec::new(), Reason::MissingId),
            (wild::MESSAGE_ID, wild::short(b""), Reason::MissingId),
            (wild::MESSAGE_ID, wild::short(b"a\r\nb"), Reason::BadId),
            (wild::MESSAGE_ID, wild::short(b"\xff\xfe"), Reason::BadId),
            (wild::MESSAGE_ID, wild::short(b"id\xc3"), Reason::BadId),
        ] {
            wild::publish(queue.as_str(), flags, &properties, b"{}").await;
            let got = next(&mut receiver).await;
            assert_eq!(reason(&got), expected, "{properties:?}");
            // Whoever puts it aside gives it an id; the rest goes along.
            let aside = Dispatch {
                envelope: Envelope {
                    id: MessageId::new("given").unwrap(),
                    headers: headers::Headers::new(),
                    body: got.incoming.body.clone(),
                    native: got.incoming.native.clone(),
                },
                to: Destination::Queue(queue.clone()),
                due: None,
            };
            assert_eq!(send(&transport, aside).await, Ok(Accepted::Queued));
            got.done().await;
            let again = next(&mut receiver).await;
            assert_eq!(again.id, "given");
            again.done().await;
        }
    })
    .await;
}

#[tokio::test]
async fn when_headers_are_wild_the_message_comes_and_the_connection_stays() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let mut receiver = receiver(&transport, &queue).await;
        let nested = |levels: usize| {
            let value = (0..levels).fold(vec![b'V'], |value, _| [&b"A"[..], &wild::long(&value)].concat());
            [wild::short(b"deep"), value].concat()
        };
        let good = [wild::short(b"good"), b"S".to_vec(), wild::long(b"yes")].concat();
        for wild_header in [
            nested(50),
            nested(20_000),
            [wild::short(b"n\xff"), b"S".to_vec(), wild::long(b"\xff\xff")].concat(),
            [wild::short(b""), b"V".to_vec()].concat(),
            [
                wild::short(b"x-delivery-count"),
                b"S".to_vec(),
                wild::long(b"many"),
            ]
            .concat(),
        ] {
            let headers = wild::long(&[wild_header, good.clone()].concat());
            let properties = [headers, wild::short(b"wild")].concat();
            wild::publish(
                queue.as_str(),
                wild::HEADERS | wild::MESSAGE_ID,
                &properties,
                b"{}",
            )
            .await;
            let got = next(&mut receiver).await;
            assert_eq!((got.id.as_str(), got.redeliveries), ("wild", 0));
            assert_eq!(got.header("good"), Some(&b"yes"[..]));
            got.done().await;
        }
        let long_type = wild::short(&[b'x'; 255]);
        wild::publish(queue.as_str(), wild::CONTENT_TYPE, &long_type, b"{}").await;
        let got = next(&mut receiver).await;
        assert_eq!(got.header(headers::CONTENT_TYPE).unwrap().len(), 255);
        got.done().await;
    })
    .await;
}

#[tokio::test]
async fn when_a_property_and_a_header_say_different_things_the_message_is_ambiguous() {
    scratch(async |scratch| {
        let (transport, queue) = scratch.with_queue("in").await;
        let properties = BasicProperties::default()
            .with_message_id("1".into())
            .with_type("a.v1".into())
            .with_headers(table(&[(headers::TYPE, text("b.v1"))]));
        Raw::connect()
            .await
            .publish(queue.as_str(), b"{}", properties)
            .await;
        let mut receiver = receiver(&transport, &queue).await;
        let got = next(&mut receiver).await;
        assert_eq!(reason(&got), Reason::AmbiguousHeader);
        got.done().await;
    })
    .await;
}
