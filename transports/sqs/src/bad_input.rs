//! What people get wrong, and what AWS then says: each is told apart by its error, and no message is lost by it.

use std::time::Duration;

use longhaul_core::{
    address::Address,
    envelope::Envelope,
    headers::Headers,
    ids::MessageId,
    transport::{
        Declare, Destination, Dispatch, Health, Receiver, ReceiverOptions, Topology, Transport,
        TransportError, TransportErrorKind,
    },
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::double::{Double, Reply};

const SEND: &str = "SendMessageBatch";
const POLL: &str = "ReceiveMessage";
const DELETE: &str = "DeleteMessageBatch";
const FIND: &str = "GetQueueUrl";

fn address(name: &str) -> Address {
    Address::new(name).unwrap()
}

fn message() -> Dispatch {
    let id = MessageId::new("m-1").unwrap();
    Dispatch {
        envelope: Envelope::new(id, Headers::new(), "{}".into()),
        to: Destination::Queue(address("sales")),
        due: None,
    }
}

fn topology(queue: &str) -> Topology {
    Topology {
        queues: vec![address(queue)],
        error_queues: vec![address("error")],
        ..Topology::default()
    }
}

async fn prepare(double: &Double, queue: &str, mode: Declare) -> TransportError {
    let prepared = double.sqs().await.prepare(&topology(queue), mode).await;
    prepared.expect_err("it can't work")
}

async fn send(double: &Double) -> TransportError {
    let sent = double.sqs().await.dispatch(&[message()]).await.remove(0);
    sent.expect_err("it can't work")
}

async fn consume(double: &Double) -> Result<Box<dyn Receiver>, TransportError> {
    let options = ReceiverOptions::default();
    double.sqs().await.receiver(&address("sales"), options).await
}

/// One in which every request fails in the same way.
fn always(status: u16, code: &'static str) -> Double {
    Double::plain(move |_, _| Reply::error(status, code))
}

#[track_caller]
fn says(error: &TransportError, kind: TransportErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_name_has_over_80_characters_nothing_is_asked_of_aws() {
    let double = always(500, "InternalError");
    let error = prepare(&double, &"x".repeat(81), Declare::Declare).await;
    says(
        &error,
        TransportErrorKind::Configuration,
        &["81 characters", "at most 80"],
    );
    // What is written out counts as it is written: each takes three characters.
    let error = prepare(&double, &"ü".repeat(14), Declare::Declare).await;
    says(&error, TransportErrorKind::Configuration, &["84 characters"]);
    assert!(double.seen(FIND).is_empty());
}

#[tokio::test(start_paused = true)]
async fn when_a_queue_is_missing_the_error_names_it_and_the_message_may_be_sent_again() {
    let double = always(400, "QueueDoesNotExist");
    let error = prepare(&double, "sales", Declare::Verify).await;
    says(
        &error,
        TransportErrorKind::Topology,
        &["sales", "Declare::Declare", "region"],
    );
    let error = consume(&double).await.map(drop).unwrap_err();
    says(&error, TransportErrorKind::Topology, &["sales"]);
    let error = send(&double).await;
    says(
        &error,
        TransportErrorKind::Unroutable,
        &["sales", "start its endpoint"],
    );
    assert!(error.is_retryable());
    assert!(double.seen(SEND).is_empty());
}

#[tokio::test(start_paused = true)]
async fn when_a_right_is_missing_the_error_says_so_and_where_the_rights_are_listed() {
    let double = always(403, "AccessDenied");
    for error in [
        prepare(&double, "sales", Declare::Declare).await,
        consume(&double).await.map(drop).unwrap_err(),
        send(&double).await,
    ] {
        says(
            &error,
            TransportErrorKind::Denied,
            &["AccessDenied: why", "the plan's policy"],
        );
    }
}

#[tokio::test(start_paused = true)]
async fn when_only_deleting_is_forbidden_settling_says_so_and_the_message_comes_again() {
    let double = Double::new(|name, _| match name {
        POLL => Reply::ok(json!({ "Messages": [{
            "MessageId": "m", "ReceiptHandle": "r", "Body": "{}", "MD5OfBody": "99914b932bd37a50b983c5e7c90ae93b",
        }] })),
        _ => Reply::error(403, "AccessDenied"),
    });
    let mut receiver = consume(&double).await.unwrap();
    let settlement = receiver.receive().await.unwrap().into_parts().1;
    let error = settlement.acknowledge().await.unwrap_err();
    says(&error, TransportErrorKind::Denied, &["AccessDenied"]);
    assert_eq!(double.seen(DELETE).len(), 1, "asking again does not help");
    assert!(receiver.receive().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn when_credentials_run_out_sending_is_denied_and_polling_goes_on_until_the_grace_is_over() {
    for code in ["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId"] {
        let expired = Double::new(move |_, _| Reply::error(403, code));
        let error = send(&expired).await;
        says(&error, TransportErrorKind::Denied, &[code, "credentials"]);

        let began = Instant::now();
        let sqs = expired.sqs().await;
        let health = sqs.health();
        let opened = sqs.receiver(&address("sales"), ReceiverOptions::default()).await;
        let mut receiver = opened.unwrap();
        let ended = timeout(Duration::from_secs(60), receiver.receive()).await;
        says(
            &ended.expect("it ends").unwrap_err(),
            TransportErrorKind::Denied,
            &[code, "sales"],
        );
        assert!(
            began.elapsed() >= Duration::from_secs(15),
            "{:?}",
            began.elapsed()
        );
        assert!(expired.seen(POLL).len() > 3);
        let shown = health.borrow().clone();
        assert!(
            matches!(&shown, Health::Blocked(text) if text.contains(code)),
            "{shown:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn when_credentials_are_renewed_within_the_grace_messages_come_as_if_nothing_had_been() {
    let mut polls = 0;
    let double = Double::new(move |name, _| match name {
        POLL => {
            polls += 1;
            match polls {
                1..=3 => Reply::error(403, "ExpiredToken"),
                _ => Reply::ok(json!({ "Messages": [{
                    "MessageId": "m", "ReceiptHandle": "r", "Body": "{}",
                    "MD5OfBody": "99914b932bd37a50b983c5e7c90ae93b",
                }] })),
            }
        }
        _ => Reply::ok(json!({})),
    });
    let mut receiver = consume(&double).await.unwrap();
    let came = timeout(Duration::from_secs(15), receiver.receive()).await;
    assert!(came.expect("a message comes").is_ok());
}

#[tokio::test(start_paused = true)]
async fn when_the_region_is_wrong_the_error_points_at_region_and_credentials() {
    // There is no such queue in that region, or the region signs otherwise, or there is no such region at all.
    let error = prepare(&always(400, "QueueDoesNotExist"), "sales", Declare::Verify).await;
    says(&error, TransportErrorKind::Topology, &["region"]);
    for (status, code) in [
        (403, "SignatureDoesNotMatch"),
        (400, "InvalidSignatureException"),
        (403, "OptInRequired"),
    ] {
        let error = send(&always(status, code)).await;
        says(&error, TransportErrorKind::Denied, &[code, "region"]);
    }
    let nowhere = Double::plain(|_, _| Reply::Unreachable);
    let error = send(&nowhere).await;
    says(&error, TransportErrorKind::Disconnected, &["region"]);
    assert!(error.is_retryable());
}
