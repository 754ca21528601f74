//! The limits of SQS and SNS that the emulator does not hold: each is held here, before anything is sent.

use std::time::Duration;

use bytes::Bytes;
use longhaul_core::{
    address::Address,
    clock::Clock,
    envelope::{Envelope, Native},
    headers::Headers,
    ids::MessageId,
    transport::{Destination, Dispatch, Transport, TransportError, TransportErrorKind},
};

use crate::{
    batch::{ENTRIES, SNS_BYTES, SQS_BYTES},
    double::{Double, TokioClock, all_done},
    message::{self, Attribute, Came},
    send::BODY_BYTES,
    timing::Timing,
};

const SEND: &str = "SendMessageBatch";

fn to_sales(envelope: Envelope) -> Dispatch {
    Dispatch {
        envelope,
        to: Destination::Queue(Address::new("sales").unwrap()),
        due: None,
    }
}

fn envelope(headers: Headers, body: usize) -> Envelope {
    Envelope::new(MessageId::new("m-1").unwrap(), headers, vec![b'x'; body].into())
}

fn headers(count: usize, bytes: usize) -> Headers {
    let header = |number| (format!("h-{number}"), "v".repeat(bytes));
    (0..count).map(header).collect()
}

async fn refused(double: &Double, dispatch: Dispatch) -> TransportError {
    let sent = double.sqs().await.dispatch(&[dispatch]).await.remove(0);
    let error = sent.expect_err("it is over the limit");
    assert_eq!(error.kind(), TransportErrorKind::Invalid, "{error}");
    assert!(double.seen(SEND).is_empty(), "nothing was sent");
    error
}

#[tokio::test(start_paused = true)]
async fn when_a_delay_is_over_900_s_it_is_refused_and_one_of_900_s_is_sent() {
    let double = Double::new(|_, body| all_done(body));
    let due = |seconds| Dispatch {
        due: Some(TokioClock.now() + Duration::from_secs(seconds)),
        ..to_sales(envelope(Headers::new(), 2))
    };
    let error = refused(&double, due(902)).await;
    assert!(error.to_string().contains("900 s"), "{error}");
    let sent = double.sqs().await.dispatch(&[due(900)]).await.remove(0);
    assert!(sent.is_ok());
    assert_eq!(double.seen(SEND)[0]["Entries"][0]["DelaySeconds"], 900);
}

#[tokio::test(start_paused = true)]
async fn when_a_poll_would_wait_for_over_20_s_or_a_lease_is_out_of_range_there_is_no_transport() {
    let double = Double::new(|_, body| all_done(body));
    let s = Duration::from_secs;
    for (wait, lease, says) in [
        (s(21), s(30), "at most 20 s"),
        (s(20), s(1), "2 s to 12 h"),
        (s(20), s(43_201), "2 s to 12 h"),
    ] {
        let timing = Timing {
            wait,
            lease,
            ..Timing::default()
        };
        let error = double.builder().timing(timing).connect().await.unwrap_err();
        assert_eq!(error.kind(), TransportErrorKind::Configuration);
        assert!(error.to_string().contains(says), "{error}");
    }
    for lease in [2, 43_200] {
        let timing = Timing {
            lease: s(lease),
            ..Timing::default()
        };
        assert!(double.builder().timing(timing).connect().await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn when_more_than_ten_are_sent_no_request_has_more_than_ten_entries() {
    let double = Double::new(|_, body| all_done(body));
    let batch: Vec<_> = (0..25).map(|_| to_sales(envelope(Headers::new(), 2))).collect();
    let sent = double.sqs().await.dispatch(&batch).await;
    assert!(sent.iter().all(Result::is_ok));
    let entries: Vec<usize> = double
        .seen(SEND)
        .iter()
        .map(|body| body["Entries"].as_array().unwrap().len())
        .collect();
    assert_eq!(entries, [ENTRIES, ENTRIES, 5]);
}

#[tokio::test(start_paused = true)]
async fn when_a_message_has_64_headers_and_came_with_ten_attributes_of_others_it_is_sent_with_two() {
    let double = Double::new(|_, body| all_done(body));
    let others = (0..10).map(|number| Attribute {
        name: format!("theirs-{number}"),
        kind: "Number".to_owned(),
        text: Some(number.to_string()),
        base64: None,
    });
    let came = Came(others.collect());
    let envelope = Envelope {
        native: Some(Native::new(came)),
        ..envelope(headers(64, 10), 2)
    };
    let sent = double.sqs().await.dispatch(&[to_sales(envelope)]).await.remove(0);
    assert!(sent.is_ok());
    let entry = &double.seen(SEND)[0]["Entries"][0];
    assert_eq!(entry["MessageAttributes"].as_object().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_body_and_headers_together_are_over_the_limit_the_error_tells_the_real_size() {
    let double = Double::new(|_, body| all_done(body));
    let large = envelope(headers(64, 8 * 1024), BODY_BYTES);
    let bytes = message::write(&large).unwrap().bytes();
    assert!(bytes > SQS_BYTES);
    let error = refused(&double, to_sales(large)).await.to_string();
    assert!(
        error.contains(&bytes.to_string()) && error.contains("1048576"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn when_a_message_is_as_large_as_sqs_takes_it_is_sent_and_with_one_byte_more_it_is_not() {
    let double = Double::new(|_, body| all_done(body));
    // All that is left beside the largest body, in headers.
    let body = BODY_BYTES;
    let one = message::write(&envelope(headers(1, 1), body)).unwrap().bytes();
    let fill = SQS_BYTES - one + 1;
    let over = to_sales(envelope(headers(1, fill + 1), body));
    refused(&double, over).await;
    let just = to_sales(envelope(headers(1, fill), body));
    assert!(double.sqs().await.dispatch(&[just]).await.remove(0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn when_an_event_is_over_what_sns_takes_it_is_refused_with_its_size() {
    let double = Double::new(|_, body| all_done(body));
    let event = |body| Dispatch {
        to: Destination::Subscribers("a.b.v1".to_owned()),
        ..to_sales(envelope(Headers::new(), body))
    };
    let bytes = message::write(&envelope(Headers::new(), SNS_BYTES))
        .unwrap()
        .bytes();
    let error = refused(&double, event(SNS_BYTES)).await.to_string();
    assert!(
        error.contains(&bytes.to_string()) && error.contains("262144"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn when_headers_are_large_they_count_towards_the_size_of_a_batch() {
    let double = Double::new(|_, body| all_done(body));
    let batch: Vec<_> = (0..3)
        .map(|_| to_sales(envelope(headers(50, 8 * 1024), 2)))
        .collect();
    assert!(
        double
            .sqs()
            .await
            .dispatch(&batch)
            .await
            .iter()
            .all(Result::is_ok)
    );
    let entries: Vec<usize> = double
        .seen(SEND)
        .iter()
        .map(|body| body["Entries"].as_array().unwrap().len())
        .collect();
    assert_eq!(entries, [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn when_a_message_is_checked_before_it_is_committed_the_answer_is_that_of_sending() {
    let double = Double::new(|_, body| all_done(body));
    let sqs = double.sqs().await;
    let event = |envelope| Dispatch {
        to: Destination::Subscribers("a.b.v1".to_owned()),
        ..to_sales(envelope)
    };
    let far = Dispatch {
        due: Some(TokioClock.now() + Duration::from_secs(86_400)),
        ..to_sales(envelope(Headers::new(), 2))
    };
    assert!(sqs.check(&far).is_ok(), "the rest may wait in a store");
    assert!(sqs.check(&to_sales(envelope(Headers::new(), SNS_BYTES))).is_ok());
    for large in [
        event(envelope(Headers::new(), SNS_BYTES)),
        event(envelope(headers(40, 8 * 1024), 2)),
        to_sales(envelope(headers(64, 8 * 1024), BODY_BYTES)),
    ] {
        let bytes = message::write(&large.envelope).unwrap().bytes();
        let error = sqs.check(&large).expect_err("too large");
        assert_eq!(error.kind(), TransportErrorKind::Invalid);
        assert!(error.to_string().contains(&bytes.to_string()), "{error}");
    }
}

/// What takes the most room: bytes that are no text, and characters that are written out.
#[tokio::test(start_paused = true)]
async fn when_a_message_is_taken_for_small_it_is() {
    let double = Double::new(|_, body| all_done(body));
    let sqs = double.sqs().await;
    let event = |headers: usize, body: usize| {
        let headers = (0..headers).map(|number| (format!("{number}"), "\u{1}".repeat(500)));
        let body = Bytes::from(vec![0xff; body]);
        let id = MessageId::new("\"".repeat(200)).unwrap();
        Dispatch {
            to: Destination::Subscribers("a.b.v1".to_owned()),
            ..to_sales(Envelope::new(id, headers.collect(), body))
        }
    };
    for headers in [0, 10, 64] {
        for body in (0..SNS_BYTES).step_by(1013) {
            let event = event(headers, body);
            let bytes = message::write(&event.envelope).unwrap().bytes();
            assert_eq!(
                sqs.check(&event).is_ok(),
                bytes <= SNS_BYTES,
                "{headers} {body} {bytes}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_text_is_not_ascii_its_bytes_count_and_not_its_characters() {
    let double = Double::new(|_, body| all_done(body));
    // Two bytes each: far fewer characters than the limit, and over it in bytes.
    let text = Bytes::from("ß".repeat(BODY_BYTES / 2 + 1));
    let message = Envelope::new(MessageId::new("m-1").unwrap(), Headers::new(), text);
    refused(&double, to_sales(message)).await;
}
