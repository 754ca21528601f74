//! What comes out is what was put in: ids, headers and bodies, to the byte.

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::{Envelope, Incoming};
use longhaul_core::headers::{self, Headers};
use longhaul_core::transport::{Accepted, Destination, Dispatch};

use crate::transport_suite::TransportFixture;
use crate::transport_suite::bench::{Bench, due, envelope, event, message_id, skipped, to_queue};

/// Ours of every kind, one of a user's own with each oddity, and one with nothing in it.
fn all_headers() -> Headers {
    let ours = [
        (headers::INTENT, "send"),
        (headers::TYPE, "sales.order_placed.v2, sales.order_placed.v1"),
        (headers::CONTENT_TYPE, "application/json; charset=utf-8"),
        (headers::TIME_SENT, "2026-11-21T10:00:00.000001Z"),
        (headers::DUE, "2027-11-21T10:00:00Z"),
        (headers::CONVERSATION, "6f1c7a52-8d43-4b6e-9a0f-35c2d1e47b90"),
        (headers::CAUSATION, "ursprung-ß"),
        (headers::CORRELATION, "question/1"),
        (headers::REPLY_TO, "日本.注文"),
        (headers::ORIGINATING_ENDPOINT, "sales"),
        ("longhaul.originator.saga-id", "42"),
        ("longhaul.target.saga-type", "order"),
        (headers::GENERATION, "3"),
        (headers::REPLAY, "1"),
        (headers::ATTEMPTS, "007"),
        (headers::TIMEOUT_ID, "timeout-1"),
        (headers::TIMEOUT_TOKEN, "18446744073709551615"),
        (
            headers::TRACEPARENT,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        (headers::TRACESTATE, "vendor=a,other=b"),
        (headers::ERROR_REASON, "handler-failed"),
        (headers::ERROR_CHAIN, "first\nsecond"),
        ("tenant", ""),
        ("spaces", "  kept  "),
        ("lines", "a\r\nb\tc"),
        ("quotes", "'\"\\`;--"),
        ("emoji", "🚚 e\u{301} \u{202e}"),
        ("controls", "\u{1}\u{7f}\u{fffe}\u{ffff}"),
        ("number", "1e400"),
        ("Case-And.Dots", "kept"),
    ];
    ours.into_iter().chain([("größe", "名前")]).collect()
}

fn assert_same(incoming: &Incoming, sent: &Envelope) {
    assert_eq!(
        incoming.id.as_deref(),
        Some(sent.id.as_str().as_bytes()),
        "the id"
    );
    let mut came = incoming.headers.clone();
    came.sort();
    let expected = sent.headers.iter();
    let mut expected: Vec<_> = expected
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .collect();
    expected.sort();
    assert_eq!(came, expected, "the headers");
    assert!(
        incoming.body == sent.body,
        "the body differs: {} bytes came, {} were sent",
        incoming.body.len(),
        sent.body.len()
    );
}

async fn when_sent_it_comes_as_it_was(bench: &Bench<'_>, dispatch: Dispatch) {
    let Destination::Queue(queue) = &dispatch.to else {
        panic!("goes to a queue");
    };
    let mut receiver = bench.receiver(queue).await;
    assert_eq!(bench.send(dispatch.clone()).await, Accepted::Queued);
    let (incoming, settlement) = bench.next(&mut receiver).await.into_parts();
    bench.acknowledge(settlement).await;
    assert_same(&incoming, &dispatch.envelope);
}

/// "Hands messages to the broker": id, headers and body arrive unchanged (G3, G7).
pub async fn when_a_message_is_received_it_is_as_it_was_sent(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut dispatch = to_queue("m-1", &queue);
    dispatch.envelope.headers = all_headers();
    when_sent_it_comes_as_it_was(&bench, dispatch).await;
}

/// The same for a message that was delayed: what the transport needs for the delay does not show (G6, G7).
pub async fn when_a_delayed_message_is_received_it_is_as_it_was_sent(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut dispatch = due("m-1", &queue, bench.now() + fixture.short_delay());
    dispatch.envelope.headers = all_headers();
    when_sent_it_comes_as_it_was(&bench, dispatch).await;
}

/// The same for an event (G3, G7).
pub async fn when_an_event_is_received_it_is_as_it_was_published(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let name = fixture.unique("sales.order_placed.v1");
    let [first, second] = bench.subscribers(&name).await;
    let mut dispatch = event("m-1", &name);
    dispatch.envelope.headers = all_headers();
    assert_eq!(bench.send(dispatch.clone()).await, Accepted::Queued);
    for queue in [first, second] {
        let mut receiver = bench.receiver(&queue).await;
        let (incoming, settlement) = bench.next(&mut receiver).await.into_parts();
        bench.acknowledge(settlement).await;
        assert_same(&incoming, &dispatch.envelope);
    }
}

/// A message without headers or body is a message (G7).
pub async fn when_a_message_has_neither_headers_nor_body_it_comes_as_it_was(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut dispatch = to_queue("m-1", &queue);
    dispatch.envelope = Envelope::new(message_id("m-1"), Headers::new(), Bytes::new());
    when_sent_it_comes_as_it_was(&bench, dispatch).await;
}

/// Bodies are bytes: every byte value, text that looks encoded already, a quarter of a mebibyte (G7).
pub async fn when_bodies_are_binary_or_large_they_come_as_they_were(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = every_byte.repeat(1024);
    let bodies = [
        every_byte,
        b"eyJhIjoxfQ==".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        large,
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        if body.len() > bench.transport.capabilities().max_body {
            continue;
        }
        let mut dispatch = to_queue(&format!("m-{number}"), &queue);
        dispatch.envelope.body = Bytes::from(body);
        when_sent_it_comes_as_it_was(&bench, dispatch).await;
    }
}

/// [`Capabilities::max_body`](longhaul_core::transport::Capabilities::max_body) is what fits, to the byte.
pub async fn when_a_body_is_as_large_as_it_may_be_it_comes_as_it_was(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut dispatch = to_queue("m-1", &queue);
    let bytes = bench.transport.capabilities().max_body;
    dispatch.envelope.body = Bytes::from((0..=255).cycle().take(bytes).collect::<Vec<u8>>());
    when_sent_it_comes_as_it_was(&bench, dispatch).await;
}

/// As many and as long headers as an endpoint takes in by default: 64 of 8 KiB are too much for some brokers, 64 short
/// ones and one of 8 KiB are not (G7).
pub async fn when_headers_are_many_or_long_they_come_as_they_were(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut many = to_queue("many", &queue);
    many.envelope.headers = (0..64)
        .map(|number| (format!("header-{number:02}"), "x".repeat(40)))
        .collect();
    when_sent_it_comes_as_it_was(&bench, many).await;
    let mut long = to_queue("long", &queue);
    long.envelope.headers = [("long", "ü".repeat(4096))].into_iter().collect();
    when_sent_it_comes_as_it_was(&bench, long).await;
}

/// Ids are any text of up to 200 bytes; the transport compares, cuts and folds nothing (G2, G3).
pub async fn when_ids_are_odd_they_come_as_they_were(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let longest = "x".repeat(200);
    let ids = [
        "a", "A", "é", "e\u{301}", " ", "'; drop", "a.b/c#*", "日本", "null", &longest,
    ];
    bench.send_ids(&queue, &ids).await;
    let mut receiver = bench.receiver(&queue).await;
    assert_eq!(bench.next_ids(&mut receiver, ids.len()).await, ids);
}

/// "Send it again under the same id": the transport itself removes no duplicates (G2, G3). Where the broker does, another copy
/// on purpose is none.
pub async fn when_one_id_is_sent_twice_it_comes_twice(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["m-1", "m-1"]).await;
    bench.send_ids(&queue, &["m-1"]).await;
    let mut receiver = bench.receiver(&queue).await;
    if fixture.tells_copies_apart() {
        assert_eq!(bench.next_ids(&mut receiver, 3).await, ["m-1"; 3]);
        return;
    }
    assert_eq!(bench.next_id(&mut receiver).await, "m-1");
    bench.nothing_comes(&mut receiver).await;
    let mut another = to_queue("m-1", &queue);
    another.envelope.headers.set(headers::GENERATION, "1");
    bench.send(another).await;
    assert_eq!(bench.next_id(&mut receiver).await, "m-1");
}

/// What one transport sends another one on the same broker receives.
pub async fn when_sender_and_receiver_have_transports_of_their_own_messages_come(
    fixture: &dyn TransportFixture,
) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let other = Bench::new(fixture).await;
    other.send_ids(&queue, &["m-1"]).await;
    let mut receiver = bench.receiver(&queue).await;
    assert_eq!(bench.next_id(&mut receiver).await, "m-1");
}

/// A message that a foreign program put in, without an id or with odd headers, is handed out and not swallowed: who
/// reads it decides (G7).
pub async fn when_foreign_messages_are_odd_they_are_handed_out(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let good = Incoming::from(envelope("raw"));
    let odd = [
        Incoming {
            id: None,
            headers: Vec::new(),
            ..good.clone()
        },
        Incoming {
            id: Some(Vec::new()),
            ..good.clone()
        },
        Incoming {
            headers: vec![("theirs".to_owned(), vec![0xff, 0xfe])],
            body: Bytes::from_static(b"\0not json"),
            ..good.clone()
        },
        good,
    ];
    let mut receiver = bench.receiver(&queue).await;
    let mut any = false;
    for odd in odd {
        if !fixture.put_raw(&queue, &odd).await {
            continue;
        }
        any = true;
        let (incoming, settlement) = bench.next(&mut receiver).await.into_parts();
        bench.acknowledge(settlement).await;
        let id = |incoming: &Incoming| incoming.id.clone().filter(|id| !id.is_empty());
        assert_eq!(id(&incoming), id(&odd), "the id");
        assert!(incoming.body == odd.body, "the body");
    }
    if !any {
        skipped("it can't put foreign messages in");
    }
    bench.send_ids(&queue, &["after"]).await;
    assert_eq!(bench.next_id(&mut receiver).await, "after");
}

/// A due time in the far past, or the earliest that there is, is now.
pub async fn when_a_due_time_is_long_past_the_message_comes_at_once(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    for (id, time) in [
        ("earliest", Timestamp::MIN),
        ("epoch", Timestamp::UNIX_EPOCH),
        ("now", bench.now()),
    ] {
        when_sent_it_comes_as_it_was(&bench, due(id, &queue, time)).await;
    }
}
