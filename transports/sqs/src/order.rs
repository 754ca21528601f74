//! Queues that keep order, on virtual time and a model of SQS: what failures do to it, and what they don't.

use std::{collections::BTreeMap, time::Duration};

use longhaul_core::{
    address::Address,
    clock::Clock,
    envelope::Envelope,
    headers::{self, Headers},
    ids::{MessageId, Randomness, SeededRandomness},
    transport::{
        Declare, Delivery, Destination, Dispatch, Receiver, ReceiverOptions, Topology, Transport,
        TransportErrorKind,
    },
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    Sqs,
    double::{Double, Reply, TokioClock, all_done, done, failed, model::Model},
};

const SEND: &str = "SendMessageBatch";

fn address() -> Address {
    Address::new("sales").unwrap()
}

/// A message of a group, told by its key.
fn keyed(key: &str, id: &str) -> Dispatch {
    let headers: Headers = [(headers::ORDERING_KEY, key)].into_iter().collect();
    Dispatch {
        envelope: Envelope::new(MessageId::new(id).unwrap(), headers, "{}".into()),
        to: Destination::Queue(address()),
        due: None,
    }
}

async fn transport(double: &Double) -> Sqs {
    let builder = double.builder().ordered([&address()]);
    builder.connect().await.unwrap()
}

fn topology() -> Topology {
    Topology {
        queues: vec![address()],
        delays: true,
        ..Topology::default()
    }
}

async fn prepare(sqs: &Sqs) {
    sqs.prepare(&topology(), Declare::Declare).await.unwrap();
}

/// An endpoint's queue on a model of SQS.
async fn prepared(model: &Model) -> Sqs {
    let sqs = transport(&model.double()).await;
    prepare(&sqs).await;
    sqs
}

async fn receiver(sqs: &Sqs) -> Box<dyn Receiver> {
    let options = ReceiverOptions::default();
    sqs.receiver(&address(), options).await.unwrap()
}

async fn next(receiver: &mut Box<dyn Receiver>) -> Delivery {
    let next = timeout(Duration::from_secs(60), receiver.receive()).await;
    next.expect("a message comes").unwrap()
}

fn id(delivery: &Delivery) -> String {
    String::from_utf8(delivery.incoming.id.clone().unwrap()).unwrap()
}

async fn send(sqs: &Sqs, all: &[Dispatch]) {
    let sent = sqs.dispatch(all).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn when_a_message_is_not_done_with_none_behind_it_is_handed_out_and_other_groups_go_on() {
    let model = Model::default();
    let sqs = prepared(&model).await;
    let all = ["a-1", "a-2", "b-1", "a-3", "b-2"].map(|id| keyed(&id[..1], id));
    send(&sqs, &all).await;
    let mut receiver = receiver(&sqs).await;
    let (first, other) = (next(&mut receiver).await, next(&mut receiver).await);
    assert_eq!((id(&first), id(&other)), ("a-1".to_owned(), "b-1".to_owned()));
    let nothing = timeout(Duration::from_secs(40), receiver.receive()).await;
    assert!(nothing.is_err(), "both groups wait");
    other.into_parts().1.acknowledge().await.unwrap();
    assert_eq!(id(&next(&mut receiver).await), "b-2");
    // Given back, it comes again before those behind it, which SQS had handed out with it.
    let later = Duration::from_secs(5);
    first.into_parts().1.release(later).await.unwrap();
    for expected in ["a-1", "a-2", "a-3"] {
        let came = loop {
            let came = next(&mut receiver).await;
            if id(&came).starts_with('a') {
                break came;
            }
        };
        assert_eq!(id(&came), expected);
        came.into_parts().1.acknowledge().await.unwrap();
    }
    receiver.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_a_lease_is_lost_those_behind_it_are_given_back_too() {
    let model = Model::default();
    let sqs = prepared(&model).await;
    send(&sqs, &["a-1", "a-2"].map(|id| keyed("a", id))).await;
    let mut receiver = receiver(&sqs).await;
    let (_, first) = next(&mut receiver).await.into_parts();
    model.refuse_changes(true);
    timeout(Duration::from_secs(60), first.lease_lost())
        .await
        .unwrap();
    model.refuse_changes(false);
    drop(first);
    for expected in ["a-1", "a-2"] {
        let came = next(&mut receiver).await;
        assert_eq!(id(&came), expected);
        came.into_parts().1.acknowledge().await.unwrap();
    }
    receiver.close().await.unwrap();
}

/// Whatever is given back, dropped or kept for long, each group is done with in the order of sending.
#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_deliveries_each_group_is_done_with_in_order() {
    for seed in 0..20 {
        let draw = SeededRandomness::new(seed);
        let model = Model::default();
        let sqs = prepared(&model).await;
        let groups = ["a", "b", "c"];
        let all: Vec<Dispatch> = (0..60)
            .map(|number| {
                let group = groups[usize::try_from(draw.next_u64() % 3).unwrap()];
                keyed(group, &format!("{group}-{number:02}"))
            })
            .collect();
        send(&sqs, &all).await;
        let mut receiver = receiver(&sqs).await;
        let mut came: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut held = Vec::new();
        while came.values().map(Vec::len).sum::<usize>() < all.len() {
            if let Ok(delivery) = timeout(Duration::from_millis(500), receiver.receive()).await {
                held.push(delivery.unwrap());
            }
            if held.is_empty() {
                continue;
            }
            let at = usize::try_from(draw.next_u64() % held.len() as u64).unwrap();
            match draw.next_u64() % 8 {
                0 => drop(held.remove(at)),
                1 => {
                    let after = Duration::from_secs(draw.next_u64() % 40);
                    let (_, settlement) = held.remove(at).into_parts();
                    settlement.release(after).await.unwrap();
                }
                2..4 => {}
                _ => {
                    let delivery = held.remove(at);
                    let id = id(&delivery);
                    delivery.into_parts().1.acknowledge().await.unwrap();
                    came.entry(id[..1].to_owned()).or_default().push(id);
                }
            }
        }
        receiver.close().await.unwrap();
        for (group, ids) in came {
            assert!(ids.is_sorted(), "seed {seed}, group {group}: {ids:?}");
        }
        assert_eq!(model.length("sales.fifo"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn when_an_entry_fails_nothing_behind_it_in_its_group_is_sent_and_the_rest_is() {
    let double = Double::new(|name, body| match name {
        SEND => {
            let entries = body["Entries"].as_array().unwrap();
            let is_bad = |entry: &&Value| entry["MessageGroupId"] == "a";
            let (bad, good): (Vec<_>, Vec<_>) = entries.iter().partition(is_bad);
            let name = |entry: &Value| entry["Id"].as_str().unwrap().to_owned();
            let good: Vec<_> = good.into_iter().map(|entry| done(&name(entry))).collect();
            let bad: Vec<_> = bad
                .into_iter()
                .map(|entry| failed(&name(entry), "InternalError", false))
                .collect();
            Reply::ok(json!({ "Successful": good, "Failed": bad }))
        }
        _ => all_done(body),
    });
    let sqs = transport(&double).await;
    let all = ["a-1", "b-1", "a-2", "b-2", "a-3"].map(|id| keyed(&id[..1], id));
    let sent: Vec<_> = sqs
        .dispatch(&all)
        .await
        .into_iter()
        .map(|sent| sent.map(drop).map_err(|error| error.kind()))
        .collect();
    let (put_off, held_back) = (
        Err(TransportErrorKind::Rejected),
        Err(TransportErrorKind::Disconnected),
    );
    assert_eq!(sent, [put_off, Ok(()), held_back, Ok(()), held_back]);
    let of_a = |body: &Value| {
        let entries = body["Entries"].as_array().unwrap().clone();
        entries
            .into_iter()
            .filter(|entry| entry["MessageGroupId"] == "a")
            .collect::<Vec<_>>()
    };
    let requests = double.seen(SEND);
    let ids: Vec<Value> = requests
        .iter()
        .flat_map(of_a)
        .map(|entry| entry["MessageAttributes"]["longhaul.id"]["StringValue"].clone())
        .collect();
    assert_eq!(ids, ["a-1"; 4], "that one alone was tried again");
}

#[tokio::test(start_paused = true)]
async fn when_two_calls_send_to_one_group_the_second_waits_for_the_first_and_another_group_does_not() {
    let mut requests = 0;
    let double = Double::new(move |name, body| match name {
        SEND => {
            requests += 1;
            let Reply::Now(_, answer) = all_done(body) else {
                unreachable!("all is done");
            };
            // The first takes so long that a second would pass it.
            let pause = if requests == 1 { 3000 } else { 10 };
            Reply::After(Duration::from_millis(pause), answer)
        }
        _ => all_done(body),
    });
    let sqs = transport(&double).await;
    let order = |body: &Value| body["Entries"][0]["MessageAttributes"]["longhaul.id"]["StringValue"].clone();
    let [first, second, other] = [keyed("a", "a-1"), keyed("a", "a-2"), keyed("b", "b-1")].map(|one| [one]);
    let (first, second, other) =
        tokio::join!(sqs.dispatch(&first), sqs.dispatch(&second), sqs.dispatch(&other));
    assert!(first.iter().chain(&second).chain(&other).all(Result::is_ok));
    let sent: Vec<Value> = double.seen(SEND).iter().map(order).collect();
    assert_eq!(sent, ["a-1", "b-1", "a-2"]);
}

#[tokio::test(start_paused = true)]
async fn when_a_message_is_delayed_it_waits_in_the_inlet_and_comes_within_two_seconds_of_its_time() {
    for (seconds, rounds) in [(5, 1), (900, 1), (2000, 3)] {
        let model = Model::default();
        let double = model.double();
        let builder = double.builder().ordered([&address()]).long_delays();
        let sqs = builder.connect().await.unwrap();
        prepare(&sqs).await;
        let mut receiver = receiver(&sqs).await;
        let (began, delay) = (Instant::now(), Duration::from_secs(seconds));
        let sent = Dispatch {
            due: Some(TokioClock.now() + delay),
            ..keyed("a", "a-1")
        };
        send(&sqs, &[sent]).await;
        assert_eq!(model.length("sales_inlet"), 1);
        let came = timeout(delay * 2, receiver.receive()).await.unwrap().unwrap();
        let took = began.elapsed();
        assert!(
            took >= delay && took <= delay + Duration::from_secs(2),
            "{took:?} for {delay:?}"
        );
        let headers = [(headers::ORDERING_KEY.to_owned(), b"a".to_vec())];
        assert_eq!(came.incoming.headers, headers);
        came.into_parts().1.acknowledge().await.unwrap();
        receiver.close().await.unwrap();
        let to_inlet = |body: &&Value| body["QueueUrl"].as_str().unwrap().ends_with("sales_inlet");
        let sends = double.seen(SEND);
        assert_eq!(sends.iter().filter(to_inlet).count(), rounds);
        let entry = &sends.last().unwrap()["Entries"][0];
        assert_eq!(
            (&entry["MessageGroupId"], &entry["DelaySeconds"]),
            (&json!("a"), &Value::Null)
        );
        assert_eq!(model.length("sales_inlet") + model.length("sales.fifo"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_delay_is_over_900_s_and_laps_are_not_on_it_is_refused() {
    let sqs = prepared(&Model::default()).await;
    let far = Dispatch {
        due: Some(TokioClock.now() + Duration::from_secs(1000)),
        ..keyed("a", "a-1")
    };
    let error = sqs.dispatch(&[far]).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn when_a_copy_is_sent_again_within_five_minutes_it_is_dropped_and_a_retry_or_replay_is_not() {
    let model = Model::default();
    let sqs = prepared(&model).await;
    let marked = |name: &'static str, value: &str| {
        let mut copy = keyed("a", "a-1");
        copy.envelope.headers.set(name, value);
        copy
    };
    let original = keyed("a", "a-1");
    let original = [original];
    send(&sqs, &original).await;
    send(&sqs, &original).await;
    assert_eq!(
        model.length("sales.fifo"),
        1,
        "nobody knew whether it had arrived"
    );
    let others = [
        marked(headers::GENERATION, "1"),
        marked(headers::GENERATION, "2"),
        marked(headers::REPLAY, "2026-11-21T12:00:00Z"),
        marked(headers::REPLAY, "2026-11-21T12:01:00Z"),
    ];
    send(&sqs, &others).await;
    assert_eq!(model.length("sales.fifo"), 5);
    tokio::time::advance(Duration::from_secs(301)).await;
    send(&sqs, &original).await;
    assert_eq!(model.length("sales.fifo"), 6);
}

#[tokio::test(start_paused = true)]
async fn when_there_is_a_standard_queue_too_in_which_messages_may_wait_the_start_is_refused() {
    let model = Model::default();
    prepare(&model.double().sqs().await).await;
    let sqs = transport(&model.double()).await;
    let error = sqs.prepare(&topology(), Declare::Declare).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Topology);
    assert!(error.to_string().contains("SqsBuilder::ordered"), "{error}");
    assert!(!model.has("sales.fifo"), "nothing was made");
}

#[tokio::test(start_paused = true)]
async fn when_an_endpoint_is_no_more_in_order_it_starts_once_what_came_in_order_is_handled() {
    let model = Model::default();
    let ordered = prepared(&model).await;
    send(&ordered, &[keyed("a", "a-1")]).await;
    let without = model.double().sqs().await;
    let error = without.prepare(&topology(), Declare::Declare).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Topology);
    let text = error.to_string();
    assert!(
        text.contains("sales.fifo") && text.contains("sales_inlet"),
        "{text}"
    );
    assert!(!model.has("sales"), "nothing was made");
    // As the text says: with order until it is empty.
    let mut receiver = receiver(&ordered).await;
    let (_, settlement) = next(&mut receiver).await.into_parts();
    settlement.acknowledge().await.unwrap();
    receiver.close().await.unwrap();
    prepare(&without).await;
    assert!(model.has("sales"));
    // What still comes there keeps nobody from starting any more, and is told in the log.
    send(&ordered, &[keyed("a", "a-2")]).await;
    prepare(&model.double().sqs().await).await;
}

#[tokio::test(start_paused = true)]
async fn when_messages_go_round_from_before_order_was_kept_the_first_start_in_order_waits_for_them() {
    let model = Model::default();
    let long = model.double().builder().long_delays().connect().await.unwrap();
    prepare(&long).await;
    let far = Dispatch {
        due: Some(TokioClock.now() + Duration::from_secs(3600)),
        ..keyed("a", "a-1")
    };
    send(&long, &[far]).await;
    assert_eq!(model.length("sales-delay.fifo"), 1);
    model.remove("sales");
    let ordered = transport(&model.double()).await;
    let error = ordered.prepare(&topology(), Declare::Declare).await.unwrap_err();
    assert!(error.to_string().contains("long_delays"), "{error}");
    assert!(!model.has("sales.fifo"), "nothing was made");
    model.remove("sales-delay.fifo");
    prepare(&transport(&model.double()).await).await;
}
