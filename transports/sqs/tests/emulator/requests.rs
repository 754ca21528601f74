//! How many requests a message takes, which is what AWS's bill counts.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use longhaul_core::{
    envelope::Envelope,
    headers::Headers,
    ids::MessageId,
    transport::{Declare, Destination, Dispatch, ReceiverOptions, Settled, Topology, Transport},
};

use crate::support::{address, builder_at, endpoint, proxy::Proxy, unique};

const MESSAGES: usize = 500;

#[tokio::test]
async fn when_there_is_much_to_do_a_message_takes_a_third_of_a_request() {
    let proxy = Proxy::before(&endpoint()).await;
    let prefix = format!("r{}-", unique());
    let sqs = builder_at(&proxy.url).prefix(prefix).connect().await.unwrap();
    let queue = address("sales");
    let topology = Topology {
        queues: vec![queue.clone()],
        ..Topology::default()
    };
    sqs.prepare(&topology, Declare::Declare).await.unwrap();
    let before = proxy.requests();
    let message = |number: usize| Dispatch {
        envelope: Envelope::new(
            MessageId::new(number.to_string()).unwrap(),
            Headers::new(),
            Bytes::from_static(b"{}"),
        ),
        to: Destination::Queue(queue.clone()),
        due: None,
    };
    let all: Vec<Dispatch> = (0..MESSAGES).map(message).collect();
    for batch in all.chunks(100) {
        assert!(sqs.dispatch(batch).await.iter().all(Result::is_ok));
    }
    let sent = proxy.requests() - before;
    // A request that is not answered in time is made again.
    assert!((MESSAGES / 10..MESSAGES / 8).contains(&sent), "{sent} requests");

    let mut receiver = sqs.receiver(&queue, ReceiverOptions::default()).await.unwrap();
    let mut settling = Vec::new();
    for _ in 0..MESSAGES {
        let next = tokio::time::timeout(Duration::from_secs(20), receiver.receive()).await;
        let settlement = next.expect("a message comes").unwrap().into_parts().1;
        settling.push(tokio::spawn(settlement.acknowledge()));
    }
    for settled in join_all(settling).await {
        assert_eq!(settled.unwrap().unwrap(), Settled::Done);
    }
    let all = proxy.requests() - before;
    eprintln!(
        "{MESSAGES} messages: {sent} requests to send, {} to receive and settle",
        all - sent
    );
    // It runs alone: a delete waits 20 ms for others, and on a busy machine they come later.
    assert!(all <= MESSAGES * 2 / 5, "{all} requests for {MESSAGES} messages");
    let counted = sqs.requests();
    let [sends, polls, settlements] = [counted.sends(), counted.polls(), counted.settlements()];
    assert_eq!((sends.requests, sends.messages), (sent as u64, MESSAGES as u64));
    assert_eq!(
        (polls.messages, settlements.messages),
        (MESSAGES as u64, MESSAGES as u64)
    );
    receiver.close().await.unwrap();
}
