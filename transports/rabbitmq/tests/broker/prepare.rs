//! Creating, checking and migrating what an endpoint needs.

use futures_util::future::join_all;
use lapin::types::AMQPValue;
use longhaul_core::transport::{Declare, Topology, Transport, TransportErrorKind};

use crate::support::{
    raw::Raw,
    scratch::{Scratch, scratch, subscribed},
    soon,
};

fn whole(scratch: &Scratch) -> Topology {
    let sales = scratch.queue("sales");
    Topology {
        queues: vec![sales.clone()],
        error_queues: vec![scratch.queue("error")],
        subscriptions: vec![subscribed(&scratch.event("placed.v1"), &sales)],
        retired: Vec::new(),
        delays: true,
    }
}

#[tokio::test]
async fn when_nothing_is_there_verify_lists_it_all_and_creates_nothing_and_declare_creates_it() {
    scratch(async |scratch| {
        let transport = scratch.transport().await;
        let topology = whole(&scratch);
        let missing = soon("verify", transport.prepare(&topology, Declare::Verify))
            .await
            .unwrap_err();
        assert_eq!(missing.kind(), TransportErrorKind::Topology);
        let text = missing.to_string();
        for name in [
            ".sales`",
            ".error`",
            ".event.placed.v1`",
            ".delay-level-27`",
            ".delay-delivery`",
            ".dead-letter`",
        ] {
            assert!(text.contains(name), "{name} is not in {text}");
        }
        let raw = Raw::connect().await;
        assert_eq!(raw.look(topology.queues[0].as_str()).await, None);

        let report = transport.prepare(&topology, Declare::Declare).await.unwrap();
        assert!(report.present.contains(&format!("queue {}", topology.queues[0])));
        assert!(report.unverified.is_empty());
        assert_eq!(raw.look(topology.queues[0].as_str()).await, Some((0, 0)));
        let report = soon("verify", transport.prepare(&topology, Declare::Verify))
            .await
            .unwrap();
        assert!(
            report
                .unverified
                .iter()
                .any(|binding| binding.contains("placed.v1"))
        );
    })
    .await;
}

#[tokio::test]
async fn when_several_processes_prepare_at_once_all_succeed() {
    scratch(async |scratch| {
        let topology = whole(&scratch);
        let transports = join_all((0..4).map(|_| scratch.transport())).await;
        for prepared in join_all(
            transports
                .iter()
                .map(|one| one.prepare(&topology, Declare::Declare)),
        )
        .await
        {
            prepared.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn when_a_queue_exists_with_other_arguments_the_error_names_it_and_says_how_to_migrate() {
    scratch(async |scratch| {
        let (transport, topology) = (scratch.transport().await, whole(&scratch));
        let raw = Raw::connect().await;
        let queue = topology.queues[0].as_str();
        raw.declare(queue, &[("x-queue-type", AMQPValue::LongString("quorum".into()))])
            .await
            .unwrap();
        for mode in [Declare::Declare, Declare::Verify] {
            let error = transport.prepare(&topology, mode).await.unwrap_err();
            assert_eq!(error.kind(), TransportErrorKind::Topology);
            assert!(
                error.to_string().contains(queue) && error.to_string().contains("inequivalent arg"),
                "{error}"
            );
        }
        let error = transport.prepare(&topology, Declare::Declare).await.unwrap_err();
        assert!(error.to_string().contains("move its messages"), "{error}");
        transport.prepare(&topology, Declare::Assume).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn when_a_queue_is_created_it_keeps_messages_whatever_happens_to_its_consumers() {
    scratch(async |scratch| {
        let (transport, topology) = (scratch.transport().await, whole(&scratch));
        transport.prepare(&topology, Declare::Declare).await.unwrap();
        let text = |value: &str| AMQPValue::LongString(value.into());
        let limit = ("x-delivery-limit", AMQPValue::LongLongInt(4_000_000_000));
        let dead = format!("{}.dead-letter", scratch.name);
        let raw = Raw::connect().await;
        let input = [
            ("x-queue-type", text("quorum")),
            limit.clone(),
            ("x-dead-letter-exchange", text(&dead)),
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-overflow", text("reject-publish")),
        ];
        raw.declare(topology.queues[0].as_str(), &input).await.unwrap();
        for queue in [topology.error_queues[0].as_str(), &dead] {
            raw.declare(queue, &[("x-queue-type", text("quorum")), limit.clone()])
                .await
                .unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn when_a_name_is_not_ours_to_take_or_too_long_prepare_refuses_it() {
    scratch(async |scratch| {
        let transport = scratch.transport().await;
        let mut topology = whole(&scratch);
        topology.subscriptions[0].event = "e".repeat(256);
        let error = transport.prepare(&topology, Declare::Declare).await.unwrap_err();
        assert_eq!(error.kind(), TransportErrorKind::Configuration);
        let mut topology = whole(&scratch);
        topology.queues = vec!["amq.mine"]
            .into_iter()
            .map(|name| longhaul_core::address::Address::new(name).unwrap())
            .collect();
        let error = transport.prepare(&topology, Declare::Declare).await.unwrap_err();
        assert_eq!(error.kind(), TransportErrorKind::Configuration);
    })
    .await;
}
