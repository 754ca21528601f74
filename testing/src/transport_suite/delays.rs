//! Delays: never early, in the order of their times, to the right queue.

use std::time::Duration;

use futures_util::future::select;
use longhaul_core::transport::{Accepted, Dispatch, TransportError, TransportErrorKind};

use crate::transport_suite::TransportFixture;
use crate::transport_suite::bench::{Bench, due, event, id, to_queue};

/// "A due time is never early" (G6).
pub async fn when_a_message_is_delayed_it_comes_not_before_its_time(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut receiver = bench.receiver(&queue).await;
    for steps in [1, 2, 3, 5, 8] {
        let time = bench.now() + fixture.short_delay() * steps;
        assert_eq!(bench.send(due("m-1", &queue, time)).await, Accepted::Queued);
        assert_eq!(bench.next_id(&mut receiver).await, "m-1");
        bench.assert_not_before(time);
    }
    bench.nothing_comes(&mut receiver).await;
}

/// Odd lengths, a microsecond among them, are not rounded down (G6).
pub async fn when_a_delay_is_of_an_odd_length_it_is_not_cut(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut receiver = bench.receiver(&queue).await;
    let delay = fixture.short_delay();
    for delay in [
        Duration::from_micros(1),
        delay / 3,
        delay + Duration::from_micros(1),
        delay * 7 / 5,
    ] {
        let time = bench.now() + delay;
        bench.send(due("m-1", &queue, time)).await;
        assert_eq!(bench.next_id(&mut receiver).await, "m-1");
        bench.assert_not_before(time);
    }
}

/// Different times come in their order, whatever the order of sending (G6).
pub async fn when_messages_are_due_at_different_times_they_come_in_that_order(
    fixture: &dyn TransportFixture,
) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let start = bench.now() + fixture.short_delay() * 2;
    let batch: Vec<Dispatch> = [5, 1, 4, 2, 3]
        .into_iter()
        .map(|step| {
            due(
                &step.to_string(),
                &queue,
                start + fixture.short_delay() * 2 * step,
            )
        })
        .collect();
    for result in bench.dispatch(&batch).await {
        assert!(matches!(result, Ok(Accepted::Queued)), "{result:?}");
    }
    let mut receiver = bench.receiver(&queue).await;
    for step in 1..=5u32 {
        assert_eq!(bench.next_id(&mut receiver).await, step.to_string());
        bench.assert_not_before(start + fixture.short_delay() * 2 * step);
    }
}

/// A delayed message holds up nothing that is sent after it.
pub async fn when_a_message_is_delayed_later_ones_pass_it(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let time = bench.now() + fixture.short_delay() * 4;
    bench.send(due("delayed", &queue, time)).await;
    bench.send_ids(&queue, &["1", "2"]).await;
    let mut receiver = bench.receiver(&queue).await;
    assert_eq!(bench.next_ids(&mut receiver, 2).await, ["1", "2"]);
    assert_eq!(bench.next_id(&mut receiver).await, "delayed");
    bench.assert_not_before(time);
}

/// A message that falls due while nobody receives waits for somebody (G6).
pub async fn when_nobody_receives_a_delayed_message_waits(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let time = bench.now() + fixture.short_delay();
    bench.send(due("m-1", &queue, time)).await;
    fixture
        .clock()
        .sleep_until(time + fixture.short_delay() * 3)
        .await;
    let mut receiver = bench.receiver(&queue).await;
    assert_eq!(bench.next_id(&mut receiver).await, "m-1");
}

/// Several receivers that wait for several delayed messages get each once (G2, G6).
pub async fn when_consumers_compete_each_delayed_message_goes_to_one(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut receivers = [bench.receiver(&queue).await, bench.receiver(&queue).await];
    let time = bench.now() + fixture.short_delay() * 2;
    let ids: Vec<String> = (0..10).map(|number| format!("m-{number}")).collect();
    let batch: Vec<Dispatch> = ids.iter().map(|id| due(id, &queue, time)).collect();
    bench.dispatch(&batch).await;
    let mut came = Vec::new();
    while came.len() < ids.len() {
        let [first, second] = &mut receivers;
        let next = select(first.receive(), second.receive());
        let next = bench.within("receive the next message", next).await;
        let delivery = next.factor_first().0;
        let delivery = delivery.unwrap_or_else(|error| panic!("failed to {error}"));
        let (incoming, settlement) = delivery.into_parts();
        bench.acknowledge(settlement).await;
        came.push(id(&incoming));
    }
    for receiver in &mut receivers {
        bench.nothing_comes(receiver).await;
    }
    came.sort();
    assert_eq!(came, ids);
}

/// "At most `max_delay` ahead" is taken: seconds short of it, for the clock goes on while the message is on its way.
pub async fn when_a_delay_is_as_long_as_it_may_be_it_is_taken(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let longest = bench.transport.capabilities().max_delay;
    let time = bench.now() + longest.saturating_sub(fixture.short_delay());
    assert_eq!(bench.send(due("m-1", &queue, time)).await, Accepted::Queued);
}

/// A longer one is refused for good, and never cut short (G6).
pub async fn when_a_delay_is_too_long_the_error_is_final(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let longest = bench.transport.capabilities().max_delay_storeless;
    for beyond in [longest + fixture.short_delay() * 10, longest.saturating_mul(1000)] {
        let result = bench
            .dispatch(&[due("m-1", &queue, bench.now() + beyond)])
            .await
            .pop();
        let error = result
            .and_then(Result::err)
            .unwrap_or_else(|| panic!("a delay of {beyond:?} was taken"));
        assert_eq!(error.kind(), TransportErrorKind::Invalid);
        assert!(!error.is_retryable());
    }
    let mut receiver = bench.receiver(&queue).await;
    bench.nothing_comes(&mut receiver).await;
}

/// "And to a queue": an event can't be delayed.
pub async fn when_an_event_is_delayed_it_is_refused(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let name = fixture.unique("sales.order_placed.v1");
    let [first, _] = bench.subscribers(&name).await;
    let delayed = Dispatch {
        due: Some(bench.now() + fixture.short_delay()),
        ..event("m-1", &name)
    };
    let result = bench.dispatch(&[delayed]).await.pop();
    let error = result.and_then(Result::err);
    assert_eq!(
        error.as_ref().map(TransportError::kind),
        Some(TransportErrorKind::Invalid)
    );
    let mut receiver = bench.receiver(&first).await;
    bench.nothing_comes(&mut receiver).await;
}

/// Queues whose names are each other's ends or beginnings, or hold dots and other letters, get only their own, at once
/// and delayed (G13).
pub async fn when_names_resemble_each_other_each_queue_gets_only_its_own(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let base = fixture.unique("Sales");
    let names = [
        base.clone(),
        format!("Foo.{base}"),
        format!("{base}.Foo"),
        format!("Foo.Foo.{base}"),
        format!("0.1.{base}"),
        format!("日本.{base}"),
    ];
    let queues = names.map(|name| crate::transport_suite::bench::address(&name));
    bench
        .prepare(&crate::transport_suite::bench::queues(
            &queues.iter().collect::<Vec<_>>(),
        ))
        .await;
    let time = bench.now() + fixture.short_delay() * 3;
    for (number, queue) in queues.iter().enumerate() {
        bench.send(due(&format!("delayed-{number}"), queue, time)).await;
        bench.send(to_queue(&format!("now-{number}"), queue)).await;
    }
    for (number, queue) in queues.iter().enumerate() {
        let mut receiver = bench.receiver(queue).await;
        let mut came = bench.next_ids(&mut receiver, 2).await;
        // Those asked for last are asked for when both are there.
        came.sort();
        assert_eq!(came, [format!("delayed-{number}"), format!("now-{number}")]);
        bench.assert_not_before(time);
        bench.nothing_comes(&mut receiver).await;
    }
}
