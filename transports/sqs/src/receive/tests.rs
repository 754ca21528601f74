//! What AWS may do to a receiver: hang, answer late, lose leases, put settlements off.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use longhaul_core::transport::{
    Receiver, ReceiverOptions, Settled, Settlement, Transport, TransportErrorKind,
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::*;
use crate::double::{Double, Reply, all_done, failed, ids};

const DELETE: &str = "DeleteMessageBatch";
const CHANGE: &str = "ChangeMessageVisibilityBatch";
const POLL: &str = "ReceiveMessage";

fn messages(count: usize) -> Value {
    let messages: Vec<Value> = (0..count)
        .map(|number| {
            json!({
                "MessageId": format!("m-{number}"), "ReceiptHandle": format!("r-{number}"), "Body": "{}",
                "MD5OfBody": "99914b932bd37a50b983c5e7c90ae93b",
                "Attributes": { "ApproximateReceiveCount": "1" },
                "MessageAttributes": { "type": { "DataType": "String", "StringValue": "t" } },
            })
        })
        .collect();
    json!({ "Messages": messages })
}

/// The first poll brings so many messages, later ones wait in vain; other requests are answered by the script.
fn bringing(count: usize, mut script: impl FnMut(&str, &Value) -> Reply + Send + 'static) -> Double {
    let mut polls = 0;
    Double::new(move |name, body| match name {
        POLL => {
            polls += 1;
            match polls {
                1 => Reply::ok(messages(count)),
                _ => Reply::After(Duration::from_secs(20), json!({})),
            }
        }
        name => script(name, body),
    })
}

async fn receiver(double: &Double) -> Box<dyn Receiver> {
    let queue = Address::new("sales").unwrap();
    let options = ReceiverOptions::default();
    double.sqs().await.receiver(&queue, options).await.unwrap()
}

async fn next(receiver: &mut Box<dyn Receiver>) -> Settlement {
    let delivery = timeout(Duration::from_secs(60), receiver.receive()).await;
    delivery.expect("a message comes").unwrap().into_parts().1
}

fn visibility(body: &Value) -> Vec<i64> {
    let entries = body["Entries"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["VisibilityTimeout"].as_i64().unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn when_a_poll_hangs_it_is_given_up_and_the_next_one_is_made() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let double = Double::new(move |name, body| match name {
        POLL => match counted.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::Never,
            1 => Reply::ok(messages(1)),
            _ => Reply::After(Duration::from_secs(20), json!({})),
        },
        _ => all_done(body),
    });
    let began = Instant::now();
    let mut receiver = receiver(&double).await;
    let settlement = next(&mut receiver).await;
    assert!(
        began.elapsed() >= Duration::from_secs(25),
        "a poll may take its time"
    );
    assert!(
        began.elapsed() <= Duration::from_secs(31),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(settlement.acknowledge().await.unwrap(), Settled::Done);
    let poll = &double.seen(POLL)[0];
    assert_eq!(poll["WaitTimeSeconds"], 20);
    assert_eq!(poll["MaxNumberOfMessages"], 10);
    assert_eq!(poll["VisibilityTimeout"], 30);
}

#[tokio::test(start_paused = true)]
async fn when_many_are_acknowledged_they_go_out_together_and_one_alone_soon() {
    let double = bringing(10, |_, body| all_done(body));
    let mut receiver = receiver(&double).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(next(&mut receiver).await);
    }
    let last = held.pop().unwrap();
    let began = Instant::now();
    let all = futures_util::future::join_all(held.into_iter().map(Settlement::acknowledge)).await;
    assert!(all.iter().all(|settled| matches!(settled, Ok(Settled::Done))));
    assert!(began.elapsed() < Duration::from_millis(100));
    assert_eq!(last.acknowledge().await.unwrap(), Settled::Done);
    let requests: Vec<_> = double.seen(DELETE).iter().map(|body| ids(body).len()).collect();
    assert_eq!(requests, [9, 1]);
}

#[tokio::test(start_paused = true)]
async fn when_a_receipt_is_stale_the_right_is_lost_and_others_are_settled_all_the_same() {
    let double = bringing(2, |_, _| {
        let done = json!({ "Id": "0" });
        Reply::ok(json!({ "Successful": [done], "Failed": [failed("1", "ReceiptHandleIsInvalid", true)] }))
    });
    let mut receiver = receiver(&double).await;
    let (first, second) = (next(&mut receiver).await, next(&mut receiver).await);
    let (first, second) = tokio::join!(first.acknowledge(), second.acknowledge());
    assert_eq!((first.unwrap(), second.unwrap()), (Settled::Done, Settled::Lost));
}

#[tokio::test(start_paused = true)]
async fn when_a_message_comes_twice_each_copy_is_settled_by_its_own_receipt() {
    let copy = |receipt: &str| {
        let mut copy = messages(1)["Messages"][0].clone();
        copy["ReceiptHandle"] = json!(receipt);
        copy
    };
    let twice = json!({ "Messages": [copy("first"), copy("second")] });
    let mut polls = 0;
    let double = Double::new(move |name, body| match name {
        POLL => {
            polls += 1;
            match polls {
                1 => Reply::ok(twice.clone()),
                _ => Reply::After(Duration::from_secs(20), json!({})),
            }
        }
        _ => all_done(body),
    });
    let mut receiver = receiver(&double).await;
    let (first, second) = (next(&mut receiver).await, next(&mut receiver).await);
    assert_eq!(first.acknowledge().await.unwrap(), Settled::Done);
    assert_eq!(second.acknowledge().await.unwrap(), Settled::Done);
    let receipts: Vec<Value> = double
        .seen(DELETE)
        .iter()
        .map(|body| body["Entries"][0]["ReceiptHandle"].clone())
        .collect();
    assert_eq!(receipts, ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn when_polls_are_throttled_for_long_the_receiver_goes_on() {
    let began = Instant::now();
    let double = Double::new(move |name, body| match name {
        POLL if began.elapsed() < Duration::from_secs(120) => Reply::error(400, "RequestThrottled"),
        POLL => Reply::ok(messages(1)),
        _ => all_done(body),
    });
    let mut receiver = receiver(&double).await;
    let came = timeout(Duration::from_secs(140), receiver.receive()).await;
    assert!(came.expect("a message comes").is_ok());
    // With pauses of up to 5 s between, and not all at once.
    assert!(double.seen(POLL).len() < 120, "{}", double.seen(POLL).len());
}

#[tokio::test(start_paused = true)]
async fn when_more_than_ten_are_settled_no_request_has_more_than_ten() {
    let mut polls = 0;
    let double = Double::new(move |name, body| match name {
        POLL => {
            polls += 1;
            match polls {
                1 => Reply::ok(messages(10)),
                2 => Reply::ok(messages(2)),
                _ => Reply::After(Duration::from_secs(20), json!({})),
            }
        }
        _ => all_done(body),
    });
    let mut receiver = receiver(&double).await;
    let mut held = Vec::new();
    for _ in 0..12 {
        held.push(next(&mut receiver).await);
    }
    let all = futures_util::future::join_all(held.into_iter().map(Settlement::acknowledge)).await;
    assert!(all.iter().all(|settled| matches!(settled, Ok(Settled::Done))));
    let requests: Vec<_> = double.seen(DELETE).iter().map(|body| ids(body).len()).collect();
    assert_eq!(requests, [10, 2]);
}

#[tokio::test(start_paused = true)]
async fn when_a_settlement_is_put_off_or_left_out_it_is_asked_for_again() {
    let mut requests = 0;
    let double = bringing(1, move |_, body| {
        requests += 1;
        match requests {
            1 => Reply::error(400, "RequestThrottled"),
            2 => Reply::ok(json!({ "Successful": [] })),
            _ => all_done(body),
        }
    });
    let mut receiver = receiver(&double).await;
    assert_eq!(
        next(&mut receiver).await.acknowledge().await.unwrap(),
        Settled::Done
    );
    assert_eq!(double.seen(DELETE).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn when_settling_fails_again_and_again_the_error_says_so_in_time() {
    let double = bringing(1, |_, _| Reply::error(500, "InternalFailure"));
    let mut receiver = receiver(&double).await;
    let settled = next(&mut receiver).await.acknowledge().await;
    assert_eq!(
        settled.map_err(|error| error.kind()),
        Err(TransportErrorKind::Unknown)
    );
    assert_eq!(double.seen(DELETE).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn when_handling_takes_long_the_lease_is_renewed_at_half_of_it() {
    let double = bringing(12, |_, body| all_done(body));
    let mut receiver = receiver(&double).await;
    let settlement = next(&mut receiver).await;
    let lost = timeout(Duration::from_secs(100), settlement.lease_lost()).await;
    assert!(lost.is_err(), "the lease was kept");
    let changes = double.seen(CHANGE);
    // Every 15 s all of ten, though only one is handled: the others wait for their turn.
    assert_eq!(changes.len(), 6);
    assert!(changes.iter().all(|body| visibility(body) == [30; 10]));
    assert_eq!(settlement.acknowledge().await.unwrap(), Settled::Done);
}

#[tokio::test(start_paused = true)]
async fn when_the_extension_fails_for_good_the_lease_is_lost_at_once() {
    let double = bringing(1, |_, _| {
        Reply::ok(json!({ "Successful": [], "Failed": [failed("0", "InvalidParameterValue", true)] }))
    });
    let mut receiver = receiver(&double).await;
    let began = Instant::now();
    let settlement = next(&mut receiver).await;
    timeout(Duration::from_secs(60), settlement.lease_lost())
        .await
        .expect("it is lost");
    assert_eq!(began.elapsed().as_secs(), 15);
    assert_eq!(settlement.acknowledge().await.unwrap(), Settled::Lost);
    assert_eq!(double.seen(DELETE).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_extensions_are_throttled_until_the_lease_lapses_it_is_lost_before_others_can_have_it() {
    let double = bringing(1, |_, _| Reply::error(400, "RequestThrottled"));
    let mut receiver = receiver(&double).await;
    let began = Instant::now();
    let settlement = next(&mut receiver).await;
    timeout(Duration::from_secs(60), settlement.lease_lost())
        .await
        .expect("it is lost");
    assert!(
        (28..30).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    assert!(double.seen(CHANGE).len() >= 4);
}

#[tokio::test(start_paused = true)]
async fn when_a_message_waits_here_until_its_lease_is_gone_it_is_not_handed_out() {
    let double = bringing(1, |_, _| Reply::error(400, "ReceiptHandleIsInvalid"));
    let mut receiver = receiver(&double).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let came = timeout(Duration::from_secs(5), receiver.receive()).await;
    assert!(came.is_err());
}

#[tokio::test(start_paused = true)]
async fn when_a_receiver_closes_its_poll_ends_by_itself_and_what_it_brings_is_released() {
    let double = Double::new(|name, body| match name {
        POLL => Reply::After(Duration::from_secs(7), messages(3)),
        _ => all_done(body),
    });
    let receiver = receiver(&double).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    receiver.close().await.unwrap();
    assert!(
        (4..6).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(double.seen(POLL).len(), 1, "no new poll is begun");
    let released: Vec<i64> = double.seen(CHANGE).iter().flat_map(visibility).collect();
    assert_eq!(released, [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn when_a_message_is_released_for_later_it_stays_invisible_so_long() {
    let double = bringing(2, |_, body| all_done(body));
    let mut receiver = receiver(&double).await;
    let (first, second) = (next(&mut receiver).await, next(&mut receiver).await);
    let (soon, late) = (Duration::from_millis(1500), Duration::from_secs(48 * 3600));
    let (first, second) = tokio::join!(first.release(soon), second.release(late));
    assert!(matches!((first, second), (Ok(Settled::Done), Ok(Settled::Done))));
    assert_eq!(visibility(&double.seen(CHANGE)[0]), [2, 43_200]);
}

#[tokio::test(start_paused = true)]
async fn when_the_queue_stays_away_the_receiver_says_so_after_a_while() {
    let double = Double::new(|_, _| Reply::error(400, "QueueDoesNotExist"));
    let began = Instant::now();
    let mut receiver = receiver(&double).await;
    let error = timeout(Duration::from_secs(60), receiver.receive())
        .await
        .expect("it ends")
        .unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Topology);
    assert!(began.elapsed() >= Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn when_more_bytes_are_held_than_may_be_nothing_is_taken_until_one_is_settled() {
    let double = bringing(2, |_, body| all_done(body));
    // Each message has two bytes.
    let sqs = double.builder().unsettled_bytes(4).connect().await.unwrap();
    let queue = Address::new("sales").unwrap();
    let opened = sqs.receiver(&queue, ReceiverOptions::default()).await;
    let mut receiver = opened.unwrap();
    let held = [next(&mut receiver).await, next(&mut receiver).await];
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(double.seen(POLL).len(), 1);
    for settlement in held {
        settlement.acknowledge().await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(double.seen(POLL).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_a_receiver_is_dropped_what_it_held_is_released_and_its_tasks_end() {
    let double = bringing(10, |_, body| all_done(body));
    let mut receiver = receiver(&double).await;
    let held = next(&mut receiver).await;
    drop(receiver);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let released: usize = double
        .seen(CHANGE)
        .iter()
        .map(|body| {
            visibility(body)
                .into_iter()
                .filter(|seconds| *seconds == 0)
                .count()
        })
        .sum();
    assert_eq!(released, 9);
    assert_eq!(
        held.acknowledge().await.unwrap(),
        Settled::Done,
        "what was handed out is still held"
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks, 0);
}
