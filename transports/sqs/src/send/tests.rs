//! What AWS may say to a batch, and what the sender then knows.

use bytes::Bytes;
use longhaul_core::{
    address::Address,
    clock::Clock,
    envelope::Envelope,
    headers::Headers,
    ids::MessageId,
    transport::{Accepted, Destination, Dispatch, Transport, TransportErrorKind},
};
use serde_json::{Value, json};
use std::time::Duration;

use crate::double::{Double, Reply, TokioClock, all_done, done, failed, ids};

fn message(body: usize) -> Dispatch {
    let body = Bytes::from(vec![b'x'; body]);
    Dispatch {
        envelope: Envelope::new(MessageId::new("m").unwrap(), Headers::new(), body),
        to: Destination::Queue(Address::new("sales").unwrap()),
        due: None,
    }
}

async fn sent(double: &Double, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportErrorKind>> {
    let results = double.sqs().await.dispatch(batch).await;
    results
        .into_iter()
        .map(|result| result.map_err(|error| error.kind()))
        .collect()
}

const QUEUED: Result<Accepted, TransportErrorKind> = Ok(Accepted::Queued);

#[tokio::test(start_paused = true)]
async fn when_some_entries_fail_each_has_its_own_result_and_only_what_was_put_off_is_sent_again() {
    let mut requests = 0;
    let double = Double::new(move |_, body| {
        requests += 1;
        match requests {
            1 => Reply::ok(json!({
                "Successful": [done("0")],
                "Failed": [failed("1", "InternalError", false), failed("2", "InvalidMessageContents", true)],
            })),
            _ => all_done(body),
        }
    });
    let results = sent(&double, &[message(1), message(1), message(1)]).await;
    assert_eq!(results, [QUEUED, QUEUED, Err(TransportErrorKind::Invalid)]);
    let requests: Vec<_> = double.seen("SendMessageBatch").iter().map(ids).collect();
    assert_eq!(requests, [vec!["0", "1", "2"], vec!["1"]]);
}

#[tokio::test(start_paused = true)]
async fn when_an_answer_leaves_an_entry_out_it_is_unknown_and_not_sent_again() {
    let double = Double::new(|_, _| Reply::ok(json!({ "Successful": [done("0")] })));
    let results = sent(&double, &[message(1), message(1)]).await;
    assert_eq!(results, [QUEUED, Err(TransportErrorKind::Unknown)]);
    assert_eq!(double.seen("SendMessageBatch").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn when_requests_are_throttled_they_are_made_again_after_a_pause_and_given_up_in_the_end() {
    let mut requests = 0;
    let double = Double::new(move |_, body| {
        requests += 1;
        if requests < 4 {
            Reply::error(400, "RequestThrottled")
        } else {
            all_done(body)
        }
    });
    assert_eq!(sent(&double, &[message(1)]).await, [QUEUED]);
    assert_eq!(double.seen("SendMessageBatch").len(), 4);

    let double = Double::new(|_, _| Reply::error(400, "ThrottlingException"));
    assert_eq!(
        sent(&double, &[message(1)]).await,
        [Err(TransportErrorKind::Rejected)]
    );
    assert_eq!(double.seen("SendMessageBatch").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn when_it_may_have_been_taken_it_is_not_sent_again_and_what_comes_behind_is_not_sent_at_all() {
    for reply in [|| Reply::error(503, "ServiceUnavailable"), || Reply::Never] {
        let double = Double::new(move |_, _| reply());
        let batch: Vec<_> = (0..11).map(|_| message(1)).collect();
        let before = tokio::time::Instant::now();
        let results = sent(&double, &batch).await;
        assert!(
            before.elapsed() <= Duration::from_secs(10),
            "{:?}",
            before.elapsed()
        );
        assert_eq!(results[..10], [Err(TransportErrorKind::Unknown); 10]);
        assert_eq!(results[10], Err(TransportErrorKind::Disconnected));
        assert_eq!(double.seen("SendMessageBatch").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_queue_is_gone_it_is_looked_for_again_the_next_time() {
    let double = Double::new(|_, _| Reply::error(400, "QueueDoesNotExist"));
    let sqs = double.sqs().await;
    for lookups in [1, 2] {
        let results = sqs.dispatch(&[message(1)]).await;
        let kind = results[0]
            .as_ref()
            .map_err(longhaul_core::transport::TransportError::kind);
        assert_eq!(kind, Err(TransportErrorKind::Unroutable));
        assert_eq!(double.seen("GetQueueUrl").len(), lookups);
    }
}

#[tokio::test(start_paused = true)]
async fn when_there_are_many_or_large_messages_they_go_in_several_requests() {
    let double = Double::new(|_, body| all_done(body));
    let large = 300 * 1024;
    let mut batch: Vec<_> = (0..12).map(|_| message(1)).collect();
    batch.extend((0..4).map(|_| message(large)));
    assert_eq!(sent(&double, &batch).await, [QUEUED; 16]);
    let requests: Vec<_> = double
        .seen("SendMessageBatch")
        .iter()
        .map(|body| ids(body).len())
        .collect();
    assert_eq!(requests, [10, 5, 1]);
}

#[tokio::test(start_paused = true)]
async fn when_a_delay_is_not_whole_seconds_it_is_rounded_up_and_one_that_is_over_is_none() {
    let double = Double::new(|_, body| all_done(body));
    let now = TokioClock.now();
    let due = |due| Dispatch { due, ..message(1) };
    let batch = [
        due(None),
        due(Some(now - Duration::from_secs(9))),
        due(Some(now + Duration::from_millis(20_500))),
    ];
    assert_eq!(sent(&double, &batch).await, [QUEUED; 3]);
    let body = &double.seen("SendMessageBatch")[0];
    let delays: Vec<&Value> = (0..3).map(|at| &body["Entries"][at]["DelaySeconds"]).collect();
    assert_eq!(delays, [0, 0, 21]);
}

#[tokio::test(start_paused = true)]
async fn when_the_publisher_fans_out_an_event_is_sent_only_if_all_have_it() {
    let queue = |name: &str| Address::new(name).unwrap();
    let event = Dispatch {
        to: Destination::Subscribers("a.b.v1".to_owned()),
        ..message(1)
    };
    let double = Double::new(|_, body| match body["QueueUrl"].as_str() {
        Some(url) if url.ends_with("/second") => Reply::error(400, "RequestThrottled"),
        _ => all_done(body),
    });
    let fan_out = |names: &[&str]| {
        let queues: Vec<Address> = names.iter().map(|name| queue(name)).collect();
        double.builder().subscribers("a.b.v1", &queues)
    };
    let both = fan_out(&["first", "second"]).connect().await.unwrap();
    let refused = both.dispatch(std::slice::from_ref(&event)).await.remove(0);
    assert_eq!(
        refused.map_err(|error| error.kind()),
        Err(TransportErrorKind::Rejected)
    );
    let one = fan_out(&["first"]).connect().await.unwrap();
    let sent = one.dispatch(std::slice::from_ref(&event)).await.remove(0);
    assert_eq!(sent.map_err(|error| error.kind()), QUEUED);
    let unheard = Dispatch {
        to: Destination::Subscribers("other".to_owned()),
        ..event
    };
    let unheard = one.dispatch(&[unheard]).await.remove(0);
    assert_eq!(unheard.map_err(|error| error.kind()), Ok(Accepted::NoSubscribers));
}

#[tokio::test(start_paused = true)]
async fn when_access_is_refused_the_error_names_the_right_and_nothing_secret() {
    let double = Double::new(|_, _| Reply::error(403, "AccessDenied"));
    let error = double
        .sqs()
        .await
        .dispatch(&[message(1)])
        .await
        .remove(0)
        .unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Denied);
    assert!(error.to_string().contains("AccessDenied: why"), "{error}");
    let shown = format!("{error:?} {:?} {:?}", double.sqs().await, double.builder());
    assert!(!shown.contains("ANOTREAL") && !shown.contains("notrealrnrELgWzOk3IfjzDKtFBhDby"));
}
