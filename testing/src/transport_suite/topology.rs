//! Preparing: creating, checking, assuming; and what a transport says of itself.

use futures_util::future::join_all;
use longhaul_core::transport::{Declare, ReceiverOptions, Report, Topology, TransportErrorKind};

use crate::transport_suite::TransportFixture;
use crate::transport_suite::bench::{Bench, address, due, event, queues, subscription};
use crate::transport_suite::receiving::is_missing;

fn everything(bench: &Bench<'_>, event: &str) -> Topology {
    let (input, errors) = (bench.address("sales"), bench.address("errors"));
    Topology {
        error_queues: vec![errors],
        subscriptions: vec![subscription(event, &input)],
        retired: vec![subscription(&format!("{event}.old"), &input)],
        ..queues(&[&input])
    }
}

/// "Constant for its lifetime", and useful.
pub async fn when_a_transport_is_asked_again_what_it_can_it_says_the_same(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let first = bench.transport.capabilities();
    bench.queue("sales").await;
    assert_eq!(bench.transport.capabilities(), first);
    assert_eq!(fixture.transport().await.capabilities(), first);
    assert!(!first.name.is_empty());
    assert!(first.max_batch > 0 && first.max_body > 0);
    assert!(first.max_delay_storeless >= first.max_delay);
}

/// "Whether the broker can be reached, and may be published to": it can, and those who ask later learn it too.
pub async fn when_the_broker_can_be_reached_the_health_says_so(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    bench.queue("sales").await;
    bench.connected().await;
}

/// "Idempotent": doing it again changes nothing and loses nothing.
pub async fn when_everything_is_prepared_again_nothing_is_lost(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let name = fixture.unique("sales.order_placed.v1");
    let topology = everything(&bench, &name);
    bench.prepare(&topology).await;
    let queue = &topology.queues[0];
    let time = bench.now() + fixture.short_delay() * 3;
    bench.send(due("delayed", queue, time)).await;
    bench.send(event("event", &name)).await;
    bench.prepare(&topology).await;
    Bench::new(fixture).await.prepare(&topology).await;
    let mut receiver = bench.receiver(queue).await;
    let mut came = bench.next_ids(&mut receiver, 2).await;
    came.sort();
    assert_eq!(came, ["delayed", "event"]);
    bench.nothing_comes(&mut receiver).await;
}

/// "Safe from several processes at once".
pub async fn when_several_prepare_at_once_all_succeed(fixture: &dyn TransportFixture) {
    let first = Bench::new(fixture).await;
    let name = fixture.unique("sales.order_placed.v1");
    let topology = everything(&first, &name);
    let mut benches = Vec::new();
    for _ in 0..6 {
        benches.push(Bench::new(fixture).await);
    }
    join_all(benches.iter().map(|bench| bench.prepare(&topology))).await;
    first.send(event("m-1", &name)).await;
    let mut receiver = first.receiver(&topology.queues[0]).await;
    assert_eq!(first.next_id(&mut receiver).await, "m-1");
    first.nothing_comes(&mut receiver).await;
}

/// Checking what is there succeeds and lists it; checking what is missing fails and creates nothing.
pub async fn when_the_topology_is_verified_nothing_is_created(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let name = fixture.unique("sales.order_placed.v1");
    let topology = everything(&bench, &name);
    for _ in 0..2 {
        let verified = bench
            .within("verify", bench.transport.prepare(&topology, Declare::Verify))
            .await;
        let error = verified
            .err()
            .unwrap_or_else(|| panic!("missing queues were found"));
        assert_eq!(error.kind(), TransportErrorKind::Topology);
    }
    bench.prepare(&topology).await;
    let verified = bench
        .within("verify", bench.transport.prepare(&topology, Declare::Verify))
        .await;
    let report = verified.unwrap_or_else(|error| panic!("failed to {error}"));
    assert_ne!(report, Report::default(), "the report says what was looked at");
}

/// One missing queue among those that are there is found.
pub async fn when_one_queue_is_missing_verifying_fails(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let there = bench.queue("sales").await;
    let missing = bench.address("errors");
    let topology = Topology {
        error_queues: vec![missing],
        ..queues(&[&there])
    };
    let verified = bench
        .within("verify", bench.transport.prepare(&topology, Declare::Verify))
        .await;
    assert_eq!(
        verified.err().map(|error| error.kind()),
        Some(TransportErrorKind::Topology)
    );
}

/// "Do nothing": neither an error nor a queue.
pub async fn when_the_topology_is_assumed_nothing_happens(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.address("sales");
    let assumed = bench
        .within(
            "assume",
            bench.transport.prepare(&queues(&[&queue]), Declare::Assume),
        )
        .await;
    if let Err(error) = assumed {
        panic!("failed to {error}");
    }
    let opened = bench.try_receiver(&queue, ReceiverOptions::default()).await;
    assert!(opened.is_err_and(|error| is_missing(&error)));
}

/// "Queues that keep what failed" are queues: one can send to them and receive from them.
pub async fn when_an_error_queue_is_prepared_it_takes_and_gives_messages(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let errors = bench.address("errors");
    let topology = Topology {
        error_queues: vec![errors.clone()],
        ..Topology::default()
    };
    bench.prepare(&topology).await;
    bench.send_ids(&errors, &["m-1"]).await;
    let mut receiver = bench.receiver(&errors).await;
    assert_eq!(bench.next_id(&mut receiver).await, "m-1");
}

/// Names as long as [they may be](TransportFixture::longest_address), and of letters of any script, work for all that a queue is for.
pub async fn when_names_are_long_or_foreign_they_work(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let long = fixture.unique("long");
    let long = format!("{long}{}", "x".repeat(fixture.longest_address() - long.len()));
    let foreign = format!("größe 注文.{}", fixture.unique("foreign"));
    for name in [long, foreign] {
        let queue = address(&name);
        bench.prepare(&queues(&[&queue])).await;
        bench
            .send(due("delayed", &queue, bench.now() + fixture.short_delay()))
            .await;
        bench.send_ids(&queue, &["now"]).await;
        let mut receiver = bench.receiver(&queue).await;
        let mut came = bench.next_ids(&mut receiver, 2).await;
        came.sort();
        assert_eq!(came, ["delayed", "now"]);
    }
}
