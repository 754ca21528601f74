//! Delays over what SQS keeps, in real time and with short laps: messages go round in a FIFO queue of the emulator.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use bytes::Bytes;
use futures_util::future::join_all;
use longhaul_core::{
    clock::{Clock, SystemClock},
    envelope::Envelope,
    headers::Headers,
    ids::MessageId,
    transport::{
        Accepted, Declare, Destination, Dispatch, ReceiverOptions, Settled, Topology, Transport,
        TransportErrorKind,
    },
};
use longhaul_sqs::Sqs;

use crate::support::{address, builder_at, endpoint, raw, timing, unique};

const LAP: Duration = Duration::from_secs(2);

async fn transport(prefix: &str) -> Sqs {
    let mut timing = timing();
    timing.lap = LAP;
    let builder = builder_at(&endpoint()).prefix(prefix).timing(timing);
    builder.long_delays().connect().await.unwrap()
}

fn topology() -> Topology {
    Topology {
        queues: vec![address("sales")],
        delays: true,
        ..Topology::default()
    }
}

fn due_in(id: &str, delay: Duration) -> Dispatch {
    let headers = [("h".to_owned(), "v".to_owned())]
        .into_iter()
        .collect::<Headers>();
    let body = Bytes::from_static(b"\x00 not text \xff");
    Dispatch {
        envelope: Envelope::new(MessageId::new(id).unwrap(), headers, body),
        to: Destination::Queue(address("sales")),
        due: Some(SystemClock.now() + delay),
    }
}

#[tokio::test]
async fn when_a_delay_takes_three_laps_the_message_comes_whole_not_early_and_at_most_two_seconds_late() {
    let prefix = format!("d{}-", unique());
    let sqs = transport(&prefix).await;
    sqs.prepare(&topology(), Declare::Declare).await.unwrap();
    // A second time finds what the first one made.
    sqs.prepare(&topology(), Declare::Verify).await.unwrap();
    let mut receiver = sqs
        .receiver(&address("sales"), ReceiverOptions::default())
        .await
        .unwrap();
    let delay = LAP * 3 + Duration::from_secs(1);
    let sent: Vec<Dispatch> = (0..20)
        .map(|number| due_in(&format!("m-{number}"), delay))
        .collect();
    let results = sqs.dispatch(&sent).await;
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Ok(Accepted::Queued)))
    );
    // What is late is the message, not the one that looks at it: they are settled at the end.
    let (mut came, mut settlements) = (Vec::new(), Vec::new());
    for _ in &sent {
        let next = tokio::time::timeout(delay * 3, receiver.receive()).await;
        let now = SystemClock.now();
        let (incoming, settlement) = next.expect("a message comes").unwrap().into_parts();
        let id = String::from_utf8(incoming.id.unwrap()).unwrap();
        let due = sent.iter().find(|one| one.envelope.id.as_str() == id).unwrap();
        let at = due.due.unwrap();
        assert!(now >= at, "{id} came {:?} early", at.since(now));
        assert!(
            now.since(at) <= Duration::from_secs(2),
            "{id}: {:?} late",
            now.since(at)
        );
        assert_eq!(incoming.body, due.envelope.body);
        assert_eq!(incoming.headers, [("h".to_owned(), b"v".to_vec())]);
        settlements.push(settlement.acknowledge());
        came.push(id);
    }
    for settled in join_all(settlements).await {
        assert_eq!(settled.unwrap(), Settled::Done);
    }
    came.sort();
    came.dedup();
    assert_eq!(came.len(), sent.len());
    receiver.close().await.unwrap();
}

#[tokio::test]
async fn when_a_queue_for_long_delays_does_not_delay_or_has_a_redrive_policy_it_is_refused() {
    let prefix = format!("d{}-", unique());
    let client = raw::client().await;
    let name = format!("{prefix}sales-delay.fifo");
    let request = client.create_queue().queue_name(&name);
    let request = request.attributes(QueueAttributeName::FifoQueue, "true");
    let made = request
        .attributes(QueueAttributeName::MessageRetentionPeriod, "1209600")
        .send()
        .await
        .unwrap();
    let sqs = transport(&prefix).await;
    let refused = sqs.prepare(&topology(), Declare::Declare).await.unwrap_err();
    assert_eq!(refused.kind(), TransportErrorKind::Topology);
    assert!(refused.to_string().contains("set DelaySeconds to 2"), "{refused}");

    let set = async |attribute, value: &str| {
        let request = client
            .set_queue_attributes()
            .queue_url(made.queue_url.as_ref().unwrap());
        request.attributes(attribute, value).send().await.unwrap();
    };
    set(QueueAttributeName::DelaySeconds, "2").await;
    sqs.prepare(&topology(), Declare::Declare).await.unwrap();
    let redrive = format!(
        r#"{{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:{name}","maxReceiveCount":"3"}}"#
    );
    set(QueueAttributeName::RedrivePolicy, &redrive).await;
    let refused = sqs.prepare(&topology(), Declare::Declare).await.unwrap_err();
    assert!(refused.to_string().contains("redrive policy"), "{refused}");
}
