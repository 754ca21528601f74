//! Publish/subscribe: to every subscribed queue once, to nobody else, and to nobody at all.

use longhaul_core::transport::{Accepted, Dispatch, Topology};

use crate::transport_suite::TransportFixture;
use crate::transport_suite::bench::{Bench, event, queues, subscription, to_queue};

/// "To every queue that subscribed to the event": each gets one (G13).
pub async fn when_two_subscribe_both_get_the_event(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let name = fixture.unique("sales.order_placed.v1");
    let both = bench.subscribers(&name).await;
    assert_eq!(bench.send(event("m-1", &name)).await, Accepted::Queued);
    for queue in both {
        let mut receiver = bench.receiver(&queue).await;
        assert_eq!(bench.next_id(&mut receiver).await, "m-1");
        bench.nothing_comes(&mut receiver).await;
    }
}

/// An event without subscribers is a success, and told as such (G13).
pub async fn when_nobody_subscribes_the_event_is_accepted_all_the_same(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let unheard = event("m-1", &fixture.unique("nobody.listens.v1"));
    assert_eq!(bench.send(unheard.clone()).await, Accepted::NoSubscribers);
    let twice = [unheard.clone(), unheard];
    let results = bench.dispatch(&twice).await;
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Ok(Accepted::NoSubscribers))),
        "{results:?}"
    );
}

/// A queue gets the events that it subscribed to and no others, however alike the names are (G13).
pub async fn when_event_names_resemble_each_other_each_subscriber_gets_its_own(
    fixture: &dyn TransportFixture,
) {
    let bench = Bench::new(fixture).await;
    let base = fixture.unique("sales.order_placed");
    let (first, second) = (bench.address("first"), bench.address("second"));
    let topology = Topology {
        subscriptions: vec![
            subscription(&base, &first),
            subscription(&format!("{base}.v1"), &second),
            subscription(&format!("other.{base}"), &second),
        ],
        ..queues(&[&first, &second])
    };
    bench.prepare(&topology).await;
    bench.send(event("1", &base)).await;
    bench.send(event("2", &format!("{base}.v1"))).await;
    bench.send(event("3", &format!("other.{base}"))).await;
    let unheard = bench.send(event("4", &format!("{base}.v2"))).await;
    assert_eq!(unheard, Accepted::NoSubscribers);
    let (mut first, mut second) = (bench.receiver(&first).await, bench.receiver(&second).await);
    assert_eq!(bench.next_id(&mut first).await, "1");
    assert_eq!(bench.next_ids(&mut second, 2).await, ["2", "3"]);
    bench.nothing_comes(&mut first).await;
    bench.nothing_comes(&mut second).await;
}

/// An event and a command of one name do not meet: a queue named like an event gets no events (G13).
pub async fn when_an_event_is_named_like_a_queue_the_queue_does_not_get_it(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let unheard = bench.send(event("event", queue.as_str())).await;
    assert_eq!(unheard, Accepted::NoSubscribers);
    bench.send(to_queue("command", &queue)).await;
    let mut receiver = bench.receiver(&queue).await;
    assert_eq!(bench.next_id(&mut receiver).await, "command");
    bench.nothing_comes(&mut receiver).await;
}

/// Subscribing twice, in one topology or in two, is subscribing once (G13).
pub async fn when_a_queue_subscribes_twice_it_gets_the_event_once(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let name = fixture.unique("sales.order_placed.v1");
    let queue = bench.address("sales");
    let topology = Topology {
        subscriptions: vec![subscription(&name, &queue); 2],
        ..queues(&[&queue])
    };
    bench.prepare(&topology).await;
    bench.prepare(&topology).await;
    bench.send(event("m-1", &name)).await;
    let mut receiver = bench.receiver(&queue).await;
    assert_eq!(bench.next_id(&mut receiver).await, "m-1");
    bench.nothing_comes(&mut receiver).await;
}

/// "Subscriptions of an earlier version, to be removed": that queue gets the event no more, others still do; removing
/// what is not there is fine (G13).
pub async fn when_a_subscription_is_retired_only_that_queue_gets_no_more(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let name = fixture.unique("sales.order_placed.v1");
    let [first, second] = bench.subscribers(&name).await;
    let retired = Topology {
        retired: vec![subscription(&name, &first)],
        ..queues(&[&first])
    };
    bench.prepare(&retired).await;
    bench.prepare(&retired).await;
    assert_eq!(bench.send(event("m-1", &name)).await, Accepted::Queued);
    let (mut first_receiver, mut second_receiver) =
        (bench.receiver(&first).await, bench.receiver(&second).await);
    assert_eq!(bench.next_id(&mut second_receiver).await, "m-1");
    bench.nothing_comes(&mut first_receiver).await;
    let last = Topology {
        retired: vec![subscription(&name, &second)],
        ..queues(&[&second])
    };
    bench.prepare(&last).await;
    assert_eq!(bench.send(event("m-2", &name)).await, Accepted::NoSubscribers);
}

/// An event that was published before a queue subscribed does not come to it.
pub async fn when_a_queue_subscribes_later_it_gets_later_events_only(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let name = fixture.unique("sales.order_placed.v1");
    assert_eq!(bench.send(event("before", &name)).await, Accepted::NoSubscribers);
    let [first, _] = bench.subscribers(&name).await;
    bench.send(event("after", &name)).await;
    let mut receiver = bench.receiver(&first).await;
    assert_eq!(bench.next_id(&mut receiver).await, "after");
    bench.nothing_comes(&mut receiver).await;
}

/// Events and commands to one queue keep the order in which they were sent in one batch, failures aside.
pub async fn when_events_and_commands_alternate_all_of_them_come(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let name = fixture.unique("sales.order_placed.v1");
    let [first, second] = bench.subscribers(&name).await;
    let batch: Vec<Dispatch> = (0..20)
        .map(|number| match number % 2 {
            0 => event(&format!("m-{number:02}"), &name),
            _ => to_queue(&format!("m-{number:02}"), &first),
        })
        .collect();
    let results = bench.dispatch(&batch).await;
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Ok(Accepted::Queued))),
        "{results:?}"
    );
    let mut receiver = bench.receiver(&first).await;
    let mut came = bench.next_ids(&mut receiver, 20).await;
    came.sort();
    assert_eq!(
        came,
        (0..20).map(|number| format!("m-{number:02}")).collect::<Vec<_>>()
    );
    let mut receiver = bench.receiver(&second).await;
    assert_eq!(bench.next_ids(&mut receiver, 10).await.len(), 10);
    bench.nothing_comes(&mut receiver).await;
}
