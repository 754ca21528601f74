//! Headers as AMQP properties, and back.
//!
//! The message id, content type, type, correlation and reply address have properties of their own in AMQP, so that
//! programs without this library read and write them in their usual place; all other headers are texts in the header
//! table. On receipt scalars become texts; tables, arrays and bytes that are not text are left out of the headers but
//! kept with the message, so that passing it on, to the error queue for one, changes nothing.

use std::borrow::Cow;

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use longhaul_core::{
    clock::Timestamp,
    envelope::{Envelope, Incoming, Native},
    headers,
};

/// Kept on the broker's disk.
const PERSISTENT: u8 = 2;
/// What the rest of a content header frame takes, generously.
const FRAME_REST_BYTES: usize = 64;
/// In front of the name of a header that the broker would act on.
const ESCAPE: &str = "longhaul.escaped.";

/// When a delayed message is due, for operators who have to move it. The broker keeps it on its way, and it is no part of the
/// message.
const DUE: &str = "x-longhaul-due";

/// The properties as they came, for passing the message on.
struct Came(BasicProperties);

/// Why a message can't be put into AMQP's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// A header's name does not fit into a short string.
    LongName(usize),
    /// All headers together don't fit into one frame.
    TooLarge { bytes: usize, most: usize },
}

/// The properties of a message to publish; `due` where it is delayed, `frame_bytes` is the largest frame of the connection.
pub(crate) fn outgoing(
    envelope: &Envelope,
    due: Option<Timestamp>,
    frame_bytes: usize,
) -> Result<BasicProperties, Misfit> {
    let came = envelope
        .native
        .as_ref()
        .and_then(Native::downcast::<Came>)
        .map(|came| &came.0);
    let mut properties = came.map(kept).unwrap_or_default().with_delivery_mode(PERSISTENT);
    let mut table = came.map(untold).unwrap_or_default();
    for (name, value) in envelope.headers.iter() {
        let text = if has_property(name) {
            ShortString::try_new(value).ok()
        } else {
            None
        };
        properties = match (name, text) {
            (headers::CONTENT_TYPE, Some(text)) => properties.with_content_type(text),
            (headers::TYPE, Some(text)) => properties.with_type(text),
            (headers::CORRELATION, Some(text)) => properties.with_correlation_id(text),
            (headers::REPLY_TO, Some(text)) => properties.with_reply_to(text),
            _ => {
                let key = escaped(name).ok_or(Misfit::LongName(name.len()))?;
                table.insert(key, as_it_came(came, name, value));
                properties
            }
        };
        if let (headers::TIME_SENT, Ok(sent)) = (name, Timestamp::parse(value)) {
            let seconds = u64::try_from(sent.as_micros() / 1_000_000).unwrap_or(0);
            properties = properties.with_timestamp(seconds);
        }
    }
    if let Ok(id) = ShortString::try_new(envelope.id.as_str()) {
        properties = properties.with_message_id(id);
    }
    if let Some(due) = due {
        let due = LongString::from(due.to_string());
        table.insert(DUE.into(), AMQPValue::LongString(due));
    }
    let most = frame_bytes.saturating_sub(FRAME_REST_BYTES);
    let table = within_a_frame(table, most.saturating_sub(encoded_bytes(&properties)));
    properties = properties.with_headers(table);
    let bytes = encoded_bytes(&properties);
    if bytes > most {
        return Err(Misfit::TooLarge { bytes, most });
    }
    Ok(properties)
}

/// What can be left out of a message on its way to another attempt or the error queue, the least needed first: a foreign message
/// whose headers just fit into a frame must get there too.
const SPARE: [&str; 7] = [
    DUE,
    headers::ERROR_CHAIN,
    headers::ERROR_TEXT,
    headers::ERROR_HOST,
    headers::ERROR_FIRST,
    headers::ERROR_LAST,
    headers::ERROR_ATTEMPTS,
];

/// The headers without as much of [`SPARE`] as is needed.
fn within_a_frame(table: FieldTable, most: usize) -> FieldTable {
    let mut bytes = table_bytes(&table);
    if bytes <= most {
        return table;
    }
    let mut entries = table.inner().clone();
    for name in SPARE {
        if bytes <= most {
            break;
        }
        if let Some(value) = entries.remove(name) {
            bytes -= entry_bytes(name, &value);
        }
    }
    FieldTable::from(entries)
}

/// A message as it came, and how often the broker says it was delivered before.
pub(crate) fn incoming(properties: BasicProperties, body: Vec<u8>, redelivered: bool) -> (Incoming, u32) {
    let mut found = Vec::new();
    let mut redeliveries = u32::from(redelivered);
    let in_properties = [
        (headers::CONTENT_TYPE, properties.content_type()),
        (headers::TYPE, properties.kind()),
        (headers::CORRELATION, properties.correlation_id()),
        (headers::REPLY_TO, properties.reply_to()),
    ];
    for (name, value) in in_properties {
        if let Some(value) = value {
            found.push((name.to_owned(), value.as_str().as_bytes().to_vec()));
        }
    }
    for (name, value) in properties.headers().iter().flatten() {
        if let "x-delivery-count" | "x-acquired-count" = name.as_str() {
            redeliveries = redeliveries.max(count(value));
        }
        if is_brokers_own(name.as_str()) {
            continue;
        }
        if let Some(bytes) = scalar(value) {
            found.push((unescaped(name.as_str()).to_owned(), bytes.into_owned()));
        }
    }
    let id = properties
        .message_id()
        .as_ref()
        .map(|id| id.as_str().as_bytes().to_vec());
    let native = Some(Native::new(Came(properties)));
    (
        Incoming {
            id,
            headers: found,
            body: body.into(),
            native,
        },
        redeliveries,
    )
}

/// When a delayed message says that it is due.
pub(crate) fn due(properties: &BasicProperties) -> Option<Timestamp> {
    let table = properties.headers().as_ref()?;
    let due = scalar(table.inner().get(DUE)?)?;
    Timestamp::parse(std::str::from_utf8(&due).ok()?).ok()
}

/// Properties as they came, but for what the broker added on the way.
pub(crate) fn without_the_brokers_own(properties: BasicProperties) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in properties.headers().iter().flatten() {
        if !is_brokers_own(name.as_str()) {
            table.insert(name.clone(), value.clone());
        }
    }
    properties.with_headers(table)
}

fn has_property(name: &str) -> bool {
    [
        headers::CONTENT_TYPE,
        headers::TYPE,
        headers::CORRELATION,
        headers::REPLY_TO,
    ]
    .contains(&name)
}

/// Properties that stay when a message is passed on. An expiration would end the copy in the error queue, and a user
/// id other than ours closes the channel.
fn kept(came: &BasicProperties) -> BasicProperties {
    let mut kept = BasicProperties::default();
    if let Some(encoding) = came.content_encoding() {
        kept = kept.with_content_encoding(encoding.clone());
    }
    if let Some(priority) = came.priority() {
        kept = kept.with_priority(*priority);
    }
    if let Some(timestamp) = came.timestamp() {
        kept = kept.with_timestamp(*timestamp);
    }
    if let Some(application) = came.app_id() {
        kept = kept.with_app_id(application.clone());
    }
    kept
}

/// Headers that the envelope can't show: tables, arrays, and bytes that are not text.
fn untold(came: &BasicProperties) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in came.headers().iter().flatten() {
        let told = scalar(value).is_some_and(|bytes| std::str::from_utf8(&bytes).is_ok());
        if !told
            && !is_brokers_own(name.as_str())
            && let Some(name) = escaped(unescaped(name.as_str()))
        {
            table.insert(name, value.clone());
        }
    }
    table
}

/// The value in the type it came in, where its text is unchanged.
fn as_it_came(came: Option<&BasicProperties>, name: &str, text: &str) -> AMQPValue {
    came.and_then(|came| came.headers().as_ref())
        .and_then(|table| table.inner().get(name))
        .filter(|value| scalar(value).is_some_and(|bytes| *bytes == *text.as_bytes()))
        .cloned()
        .unwrap_or_else(|| AMQPValue::LongString(LongString::from(text.as_bytes())))
}

/// The text of a scalar. Points in time are written as the headers of this library write them.
fn scalar(value: &AMQPValue) -> Option<Cow<'_, [u8]>> {
    let text = match value {
        AMQPValue::LongString(text) => return Some(Cow::Borrowed(text.as_bytes())),
        AMQPValue::ByteArray(bytes) => return Some(Cow::Borrowed(bytes.as_slice())),
        AMQPValue::ShortString(text) => return Some(Cow::Borrowed(text.as_str().as_bytes())),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::ShortShortInt(value) => value.to_string(),
        AMQPValue::ShortShortUInt(value) => value.to_string(),
        AMQPValue::ShortInt(value) => value.to_string(),
        AMQPValue::ShortUInt(value) => value.to_string(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongUInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        AMQPValue::Float(value) => value.to_string(),
        AMQPValue::Double(value) => value.to_string(),
        AMQPValue::DecimalValue(value) => format!("{}e-{}", value.value, value.scale),
        AMQPValue::Timestamp(seconds) => {
            let micros = i64::try_from(*seconds)
                .unwrap_or(i64::MAX)
                .saturating_mul(1_000_000);
            Timestamp::from_micros(micros).to_string()
        }
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) | AMQPValue::Void => return None,
    };
    Some(Cow::Owned(text.into_bytes()))
}

fn count(value: &AMQPValue) -> u32 {
    let text = scalar(value).unwrap_or_default();
    std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// What the broker adds on its way, or the transport for it: not a part of the message.
fn is_brokers_own(name: &str) -> bool {
    name.starts_with("x-death")
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
        || name == "x-delivery-count"
        || name == "x-acquired-count"
        || name == DUE
}

/// Headers that the broker acts on (`CC` sends copies, or closes the channel) and its own ones travel by another name.
/// `None`: it is too long.
fn escaped(name: &str) -> Option<ShortString> {
    let must = is_brokers_own(name) || name == "CC" || name == "BCC" || name.starts_with(ESCAPE);
    let name = if must {
        Cow::Owned(format!("{ESCAPE}{name}"))
    } else {
        Cow::Borrowed(name)
    };
    ShortString::try_new(name).ok()
}

fn unescaped(name: &str) -> &str {
    name.strip_prefix(ESCAPE).unwrap_or(name)
}

/// How many bytes the properties take in a frame, a few more at most.
fn encoded_bytes(properties: &BasicProperties) -> usize {
    let shorts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.message_id(),
        properties.kind(),
        properties.app_id(),
    ];
    let shorts: usize = shorts
        .iter()
        .map(|text| text.as_ref().map_or(0, |text| text.as_str().len() + 1))
        .sum();
    shorts + properties.headers().as_ref().map_or(0, table_bytes)
}

fn table_bytes(table: &FieldTable) -> usize {
    4 + table
        .into_iter()
        .map(|(name, value)| entry_bytes(name.as_str(), value))
        .sum::<usize>()
}

fn entry_bytes(name: &str, value: &AMQPValue) -> usize {
    1 + name.len() + value_bytes(value)
}

fn value_bytes(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::LongString(text) => 4 + text.len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::FieldArray(items) => 4 + items.as_slice().iter().map(value_bytes).sum::<usize>(),
        AMQPValue::FieldTable(table) => table_bytes(table),
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::{envelope::read, headers::Headers, ids::MessageId, limits::Limits};
    use proptest::prelude::*;

    use super::*;

    const FRAME_BYTES: usize = 128 * 1024;

    fn envelope(headers: Headers) -> Envelope {
        Envelope::new(MessageId::new("id").unwrap(), headers, b"body".to_vec().into())
    }

    #[test]
    fn when_headers_do_not_fit_into_a_frame_the_message_is_refused() {
        let wide = (0..20).map(|number| (format!("h{number}"), "x".repeat(8000)));
        let refused = outgoing(&envelope(wide.collect()), None, FRAME_BYTES);
        assert!(matches!(refused, Err(Misfit::TooLarge { bytes: 160_000.., most }) if most < FRAME_BYTES));
        let long = envelope(Headers::from_iter([("n".repeat(256), "x")]));
        assert_eq!(outgoing(&long, None, FRAME_BYTES), Err(Misfit::LongName(256)));
        let escaped = envelope(Headers::from_iter([(
            format!("x-death-{}", "n".repeat(240)),
            "x",
        )]));
        assert_eq!(outgoing(&escaped, None, FRAME_BYTES), Err(Misfit::LongName(248)));
    }

    #[test]
    fn when_a_foreign_name_is_as_long_as_amqp_allows_the_message_can_be_passed_on() {
        let long = envelope(Headers::from_iter([("n".repeat(255), "x")]));
        assert!(outgoing(&long, None, FRAME_BYTES).is_ok());
    }

    #[test]
    fn when_headers_just_fit_into_a_frame_the_copy_for_the_error_queue_leaves_out_what_it_can_spare() {
        let wide = (0..16).map(|number| (format!("h{number}"), "x".repeat(8_150)));
        let mut headers: Headers = wide.collect();
        assert!(outgoing(&envelope(headers.clone()), None, FRAME_BYTES).is_ok());
        headers.set(headers::ERROR_REASON, "bad-body");
        headers.set(headers::ERROR_SOURCE, "in");
        headers.set(headers::ERROR_TEXT, "t".repeat(2_000));
        headers.set(headers::ERROR_CHAIN, "c".repeat(2_000));
        let sent = outgoing(&envelope(headers), None, FRAME_BYTES).unwrap();
        let sent = sent.headers().as_ref().unwrap().inner();
        assert!(sent.contains_key(headers::ERROR_REASON) && sent.contains_key(headers::ERROR_SOURCE));
        assert!(!sent.contains_key(headers::ERROR_CHAIN));
        assert_eq!(
            (0..16)
                .filter(|number| sent.contains_key(format!("h{number}").as_str()))
                .count(),
            16
        );
    }

    #[test]
    fn when_a_message_is_delayed_it_says_when_it_is_due_until_it_is_there() {
        let due = Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(42);
        let plain = envelope(Headers::from_iter([("tenant", "acme")]));
        let sent = outgoing(&plain, Some(due), FRAME_BYTES).unwrap();
        assert_eq!(super::due(&sent), Some(due));
        assert_eq!(super::due(&without_the_brokers_own(sent.clone())), None);
        let (came, _) = incoming(sent, b"body".to_vec(), false);
        let came = read(&came, &Limits::default()).unwrap();
        assert_eq!(came, plain);
        assert_eq!(super::due(&outgoing(&came, None, FRAME_BYTES).unwrap()), None);
    }

    #[test]
    fn when_the_broker_counts_deliveries_the_higher_count_is_the_hint() {
        let mut table = FieldTable::default();
        table.insert("x-delivery-count".into(), AMQPValue::LongLongInt(2));
        table.insert("x-acquired-count".into(), AMQPValue::LongLongInt(7));
        let counted = BasicProperties::default().with_headers(table);
        assert_eq!(incoming(counted, Vec::new(), true).1, 7);
        assert_eq!(incoming(BasicProperties::default(), Vec::new(), true).1, 1);
        assert_eq!(incoming(BasicProperties::default(), Vec::new(), false).1, 0);
    }

    /// Names that the broker acts on, that have a property of their own, and any others.
    fn name() -> impl Strategy<Value = String> {
        let odd = [
            "CC",
            "BCC",
            "x-death",
            "x-first-death-queue",
            "x-delivery-count",
            "longhaul.escaped.CC",
            DUE,
        ];
        let own = [
            headers::CONTENT_TYPE,
            headers::TYPE,
            headers::CORRELATION,
            headers::REPLY_TO,
            headers::TIME_SENT,
        ];
        prop_oneof![
            prop::sample::select(odd.to_vec()).prop_map(str::to_owned),
            prop::sample::select(own.to_vec()).prop_map(str::to_owned),
            "\\PC{1,20}",
        ]
    }

    proptest! {
        #[test]
        fn whatever_the_headers_they_come_back_as_they_were_and_so_they_do_when_passed_on(
            pairs in proptest::collection::vec((name(), "\\PC{0,300}"), 0..20),
        ) {
            let sent = envelope(pairs.into_iter().collect());
            let mut properties = outgoing(&sent, None, FRAME_BYTES).unwrap();
            for _ in 0..2 {
                prop_assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some("id"));
                let (came, _) = incoming(properties, b"body".to_vec(), false);
                let came = read(&came, &Limits::default()).unwrap();
                prop_assert_eq!(&came, &sent);
                properties = outgoing(&came, None, FRAME_BYTES).unwrap();
            }
        }
    }
}
