//! Brokers whose disk or whose queues are slow, as on a machine that has too much to do.

use longhaul_core::{
    address::Address,
    admin::{Found, Pass, QueueAdmin},
    transport::{Declare, ReceiverOptions, Topology, Transport, TransportErrorKind},
};
use longhaul_rabbitmq::RabbitMq;

use crate::brokers::Brokers;
use crate::support::{
    messages::{fill, next},
    scratch::topology,
    soon, until,
};

/// What writes for all quorum queues of a broker: nothing is true before it has written it.
const DISK: &str = "ra_log_wal";
/// Longer than an operator waits for one more message, and than the broker waits for a queue that is asked for its depth.
const SLOW: u32 = 400;

/// A broker with an error queue that holds the messages `0..count`.
async fn broker(brokers: &Brokers, name: &str, count: usize) -> (RabbitMq, Address) {
    errors_at(&brokers.start(name).await, count).await
}

async fn errors_at(url: &str, count: usize) -> (RabbitMq, Address) {
    let rabbit = RabbitMq::connect(url).await.unwrap();
    let queue = Address::new("errors").unwrap();
    let errors = Topology {
        error_queues: vec![queue.clone()],
        ..Topology::default()
    };
    rabbit.prepare(&errors, Declare::Declare).await.unwrap();
    fill(&rabbit, &queue, count).await;
    (rabbit, queue)
}

async fn begin(rabbit: &RabbitMq, queue: &Address) -> Box<dyn Pass> {
    soon("a pass", rabbit.look_through(queue)).await.unwrap()
}

/// The ids of all that is left of a pass.
async fn rest(pass: &mut Box<dyn Pass>, limit: usize) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let page = soon("a page", pass.next(limit)).await.unwrap();
        if page.is_empty() {
            return all;
        }
        assert!(page.len() <= limit);
        all.extend(page.iter().map(id));
    }
}

fn id(found: &Found) -> String {
    String::from_utf8(found.incoming.id.clone().unwrap()).unwrap()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn when_the_disk_is_slow_an_operator_is_shown_every_message_in_its_order() {
    let brokers = Brokers::new();
    let (rabbit, queue) = broker(&brokers, "disk", 100).await;
    brokers.hold_up("disk", DISK, SLOW).await;
    for _ in 0..2 {
        let mut pass = begin(&rabbit, &queue).await;
        assert_eq!(pass.expected(), 100);
        assert_eq!(rest(&mut pass, 40).await, numbers(100));
        soon("the end", pass.close()).await.unwrap();
    }
}

#[tokio::test]
async fn when_the_operators_node_is_behind_the_queues_leader_every_message_is_shown_in_its_order() {
    let brokers = Brokers::new();
    let urls = brokers.start_cluster(&["leader", "behind", "third"]).await;
    // The queue's leader is on the node that declares it; messages come from the operator's own node.
    let (_, queue) = errors_at(&urls[0], 60).await;
    let rabbit = RabbitMq::connect(&urls[1]).await.unwrap();
    brokers.hold_up("behind", "%2F_errors", 2 * SLOW).await;
    let mut pass = begin(&rabbit, &queue).await;
    assert_eq!(pass.expected(), 60);
    assert_eq!(rest(&mut pass, 100).await, numbers(60));
    soon("the end", pass.close()).await.unwrap();
}

#[tokio::test]
async fn when_the_disk_is_slow_what_was_shown_page_by_page_is_back_in_its_order_when_the_pass_is_closed() {
    let brokers = Brokers::new();
    let (rabbit, queue) = broker(&brokers, "back", 300).await;
    let mut pass = begin(&rabbit, &queue).await;
    assert_eq!(rest(&mut pass, 4).await, numbers(300));
    brokers.hold_up("back", DISK, SLOW).await;
    soon("the end", pass.close()).await.unwrap();
    let depth = soon("a look", rabbit.depth(&queue)).await.unwrap();
    assert_eq!((depth.ready, depth.consumers), (300, Some(0)));
    brokers.let_go("back").await;
    let mut pass = begin(&rabbit, &queue).await;
    assert_eq!(rest(&mut pass, 100).await, numbers(300));
    soon("the end", pass.close()).await.unwrap();
}

#[tokio::test]
async fn when_an_operator_was_killed_and_the_disk_is_slow_the_next_one_is_shown_what_that_one_had_taken() {
    let brokers = Brokers::new();
    let (rabbit, queue) = broker(&brokers, "killed", 60).await;
    let mut pass = begin(&rabbit, &queue).await;
    assert_eq!(pass.next(16).await.unwrap().len(), 16);
    assert_eq!(pass.next(30).await.unwrap().len(), 30);
    brokers.hold_up("killed", DISK, SLOW).await;
    drop(pass);
    let mut pass = begin(&rabbit, &queue).await;
    assert_eq!(pass.expected(), 60);
    let mut shown = rest(&mut pass, 100).await;
    soon("the end", pass.close()).await.unwrap();
    shown.sort_by_key(|id| id.parse::<u32>().unwrap());
    assert_eq!(shown, numbers(60));
}

#[tokio::test]
async fn when_a_queue_answers_late_it_is_not_taken_for_an_empty_one() {
    let brokers = Brokers::new();
    let (rabbit, queue) = broker(&brokers, "late", 40).await;
    brokers.hold_up("late", "%2F_errors", 2 * SLOW).await;
    for _ in 0..3 {
        let depth = soon("a look", rabbit.depth(&queue)).await.unwrap();
        assert_eq!((depth.ready, depth.consumers), (40, Some(0)));
    }
    let mut pass = begin(&rabbit, &queue).await;
    assert_eq!(pass.expected(), 40);
    assert_eq!(rest(&mut pass, 40).await, numbers(40));
    soon("the end", pass.close()).await.unwrap();
    let depth = soon("a look", rabbit.depth(&queue)).await.unwrap();
    assert_eq!((depth.ready, depth.consumers), (40, Some(0)));
}

#[tokio::test]
async fn when_a_queue_or_the_disk_is_slow_at_most_one_owns_the_queue() {
    let brokers = Brokers::new();
    let url = brokers.start("owned").await;
    let first = RabbitMq::connect(&url).await.unwrap();
    let second = RabbitMq::connect(&url).await.unwrap();
    let queue = Address::new("in").unwrap();
    first
        .prepare(&topology(&[&queue]), Declare::Declare)
        .await
        .unwrap();
    let alone = ReceiverOptions {
        exclusive: true,
        ..ReceiverOptions::default()
    };
    brokers.hold_up("owned", DISK, SLOW).await;
    let both = futures_util::future::join(first.receiver(&queue, alone), second.receiver(&queue, alone));
    let (one, other) = soon("both", both).await;
    assert!(one.is_err() || other.is_err(), "both own it");
    for receiver in [one, other].into_iter().flatten() {
        soon("the end", receiver.close()).await.unwrap();
    }
    brokers.let_go("owned").await;

    let mut owner = until("an owner", async || first.receiver(&queue, alone).await.ok()).await;
    brokers.hold_up("owned", "%2F_in", 2 * SLOW).await;
    let refused = soon("an answer", second.receiver(&queue, alone)).await;
    assert_eq!(
        refused.expect_err("it is owned").kind(),
        TransportErrorKind::InUse
    );
    fill(&second, &queue, 1).await;
    next(&mut owner).await.done().await;
}
