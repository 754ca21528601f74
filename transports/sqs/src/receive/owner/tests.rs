//! Who may consume a queue alone, by its tag.

use longhaul_core::{
    address::Address,
    clock::Clock,
    transport::{Receiver, ReceiverOptions, Transport},
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::*;
use crate::double::{Double, Reply, TokioClock};

const POLL: &str = "ReceiveMessage";

/// A queue with a tag, as a double keeps it.
fn tagged(tag: Option<String>) -> (Double, Arc<std::sync::Mutex<Option<String>>>) {
    let kept = Arc::new(std::sync::Mutex::new(tag));
    let tag = Arc::clone(&kept);
    let double = Double::new(move |name, body| {
        let mut tag = tag.lock().unwrap();
        match name {
            POLL => return Reply::After(Duration::from_secs(20), json!({})),
            "TagQueue" => *tag = body["Tags"][TAG].as_str().map(str::to_owned),
            "UntagQueue" => *tag = None,
            _ => {}
        }
        Reply::ok(
            tag.as_ref()
                .map_or(json!({}), |tag| json!({ "Tags": { TAG: tag } })),
        )
    });
    (double, kept)
}

async fn alone(double: &Double, queue: &str) -> Result<Box<dyn Receiver>, TransportErrorKind> {
    let options = ReceiverOptions {
        exclusive: true,
        ..ReceiverOptions::default()
    };
    let opened = double
        .sqs()
        .await
        .receiver(&Address::new(queue).unwrap(), options)
        .await;
    opened.map_err(|error| error.kind())
}

fn tag_until(after: Duration) -> String {
    let until = TokioClock.now() + after;
    format!("other @ {}", until.as_micros())
}

#[tokio::test(start_paused = true)]
async fn when_a_process_consumes_alone_its_tag_is_renewed_and_taken_away_in_the_end() {
    let (double, tag) = tagged(None);
    let receiver = alone(&double, "renewed").await.unwrap();
    let first = tag.lock().unwrap().clone();
    assert!(first.is_some());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(double.seen("TagQueue").len(), 3);
    receiver.close().await.unwrap();
    assert_eq!(*tag.lock().unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn when_the_process_before_was_killed_its_tag_is_waited_for() {
    let (double, tag) = tagged(Some(tag_until(Duration::from_secs(10))));
    let began = Instant::now();
    let receiver = alone(&double, "killed").await;
    assert!(receiver.is_ok());
    assert!(
        (9..=11).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    assert!(!tag.lock().unwrap().as_ref().unwrap().starts_with("other"));
}

#[tokio::test(start_paused = true)]
async fn when_another_process_consumes_the_queue_an_exclusive_receiver_is_refused() {
    let (double, tag) = tagged(Some(tag_until(Duration::from_secs(20))));
    let renewing = async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        *tag.lock().unwrap() = Some(tag_until(Duration::from_secs(60)));
    };
    let (refused, ()) = tokio::join!(alone(&double, "used"), renewing);
    assert_eq!(refused.map(drop), Err(TransportErrorKind::InUse));
    assert_eq!(double.seen("TagQueue").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_another_takes_the_queue_over_the_receiver_says_so() {
    let (double, tag) = tagged(None);
    let mut receiver = alone(&double, "taken").await.unwrap();
    *tag.lock().unwrap() = Some(tag_until(Duration::from_secs(20)));
    let error = timeout(Duration::from_secs(60), receiver.receive())
        .await
        .expect("it ends")
        .unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::InUse);
}

#[tokio::test(start_paused = true)]
async fn when_tags_may_not_be_read_the_receiver_opens_all_the_same() {
    let double = Double::new(|name, _| match name {
        POLL => Reply::After(Duration::from_secs(20), json!({})),
        _ => Reply::error(403, "AccessDenied"),
    });
    assert!(alone(&double, "untagged").await.is_ok());
}
