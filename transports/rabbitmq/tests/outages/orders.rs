//! What the broker or its operator decides about connections, channels and rights.

use std::time::Duration;

use longhaul_core::{
    address::Address,
    clock::{Clock, SystemClock},
    transport::{Accepted, Declare, ReceiverOptions, Settled, Subscription, Topology, Transport},
};
use longhaul_rabbitmq::RabbitMq;

use crate::brokers::Brokers;
use crate::support::{
    messages::{due, event, fill, next, send, to},
    scratch::topology,
    soon, until,
};

#[tokio::test]
async fn when_a_message_is_held_for_too_long_the_broker_closes_the_channel_and_it_comes_again() {
    let brokers = Brokers::new();
    let url = brokers.start("strict").await;
    for setting in ["consumer_timeout, 1000", "channel_tick_interval, 500"] {
        brokers
            .ctl(
                "strict",
                &["eval", &format!("application:set_env(rabbit, {setting}).")],
            )
            .await;
    }
    let transport = RabbitMq::connect(&url).await.unwrap();
    let queue = Address::new("in").unwrap();
    transport
        .prepare(&topology(&[&queue]), Declare::Declare)
        .await
        .unwrap();
    fill(&transport, &queue, 1).await;
    let mut receiver = transport
        .receiver(&queue, ReceiverOptions::default())
        .await
        .unwrap();
    let held = next(&mut receiver).await;
    soon("the loss", held.settlement.lease_lost()).await;
    assert_eq!(held.settlement.acknowledge().await.unwrap(), Settled::Lost);
    let again = next(&mut receiver).await;
    assert!(again.redeliveries > 0);
    again.done().await;
    fill(&transport, &queue, 1).await;
    next(&mut receiver).await.done().await;
}

#[tokio::test]
async fn when_an_operator_closes_all_connections_everybody_comes_back() {
    let brokers = Brokers::new();
    let url = brokers.start("closed").await;
    let transport = RabbitMq::connect(&url).await.unwrap();
    let queue = Address::new("in").unwrap();
    transport
        .prepare(&topology(&[&queue]), Declare::Declare)
        .await
        .unwrap();
    fill(&transport, &queue, 1).await;
    let mut receiver = transport
        .receiver(&queue, ReceiverOptions::default())
        .await
        .unwrap();
    let held = next(&mut receiver).await;
    brokers
        .ctl("closed", &["close_all_connections", "maintenance"])
        .await;
    soon("the loss", held.settlement.lease_lost()).await;
    next(&mut receiver).await.done().await;
    until("a message out", async || {
        send(&transport, to(&queue, "1")).await.ok()
    })
    .await;
    next(&mut receiver).await.done().await;
}

#[tokio::test]
async fn when_the_user_may_not_declare_what_exists_can_be_verified_and_used() {
    let brokers = Brokers::new();
    let url = brokers.start("rights").await;
    let queue = Address::new("in").unwrap();
    let topology = Topology {
        queues: vec![queue.clone()],
        subscriptions: vec![Subscription {
            event: "placed.v1".to_owned(),
            queue: queue.clone(),
        }],
        delays: true,
        ..Topology::default()
    };
    let unit = Duration::from_millis(20);
    let owner = RabbitMq::builder(&url).delay_unit(unit).connect().await.unwrap();
    owner.prepare(&topology, Declare::Declare).await.unwrap();
    brokers.ctl("rights", &["add_user", "clerk", "secret"]).await;
    brokers
        .ctl("rights", &["set_permissions", "clerk", "^$", ".*", ".*"])
        .await;
    let transport = RabbitMq::builder(url.replace("guest:guest", "clerk:secret"))
        .delay_unit(unit)
        .connect()
        .await
        .unwrap();
    let refused = transport.prepare(&topology, Declare::Declare).await.unwrap_err();
    assert_eq!(
        refused.kind(),
        longhaul_core::transport::TransportErrorKind::Denied,
        "{refused}"
    );
    let report = transport.prepare(&topology, Declare::Verify).await.unwrap();
    assert!(
        report
            .unverified
            .contains(&"arguments of the queue `in`".to_owned()),
        "{:?}",
        report.unverified
    );

    let mut receiver = transport
        .receiver(&queue, ReceiverOptions::default())
        .await
        .unwrap();
    let later = SystemClock.now() + unit;
    for dispatch in [to(&queue, "1"), event("placed.v1", "2"), due(&queue, "3", later)] {
        assert_eq!(send(&transport, dispatch).await, Ok(Accepted::Queued));
        next(&mut receiver).await.done().await;
    }
    assert_eq!(
        send(&transport, event("lonely.v1", "4")).await,
        Ok(Accepted::NoSubscribers)
    );
}
