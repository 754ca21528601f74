//! Settling: once, by who holds the right; what nobody settles comes back.

use std::time::Duration;

use longhaul_core::transport::Settled;

use crate::transport_suite::TransportFixture;
use crate::transport_suite::bench::{Bench, id};

/// "The broker forgets it": for this receiver and for those that come later (G1).
pub async fn when_a_message_is_acknowledged_it_never_comes_again(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["1", "2"]).await;
    let mut receiver = bench.receiver(&queue).await;
    assert_eq!(bench.next_ids(&mut receiver, 2).await, ["1", "2"]);
    bench.nothing_comes(&mut receiver).await;
    bench.close(receiver).await;
    let mut next = bench.receiver(&queue).await;
    bench.nothing_comes(&mut next).await;
}

/// Acknowledging one settles no other, in whatever order it is done (G1).
pub async fn when_messages_are_acknowledged_out_of_order_only_those_are_forgotten(
    fixture: &dyn TransportFixture,
) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["1", "2", "3", "4"]).await;
    let mut receiver = bench.receiver(&queue).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(bench.next(&mut receiver).await);
    }
    let mut unsettled = Vec::new();
    for delivery in held.into_iter().rev() {
        if ["2", "4"].contains(&id(&delivery.incoming).as_str()) {
            bench.acknowledge(delivery.into_parts().1).await;
        } else {
            unsettled.push(delivery);
        }
    }
    drop(unsettled);
    bench.close(receiver).await;
    let mut next = bench.receiver(&queue).await;
    let mut came = bench.next_ids(&mut next, 2).await;
    came.sort();
    assert_eq!(came, ["1", "3"]);
    bench.nothing_comes(&mut next).await;
}

/// "Dropped unsettled, it comes back", to the same receiver too; "how often the broker says it was delivered before"
/// is 0 at first and at least 1 then (G1, G7).
pub async fn when_a_delivery_is_dropped_it_comes_back(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["m-1"]).await;
    let mut receiver = bench.receiver(&queue).await;
    let delivery = bench.next(&mut receiver).await;
    assert_eq!(delivery.redeliveries, 0);
    drop(delivery);
    let again = bench.next(&mut receiver).await;
    assert_eq!(id(&again.incoming), "m-1");
    assert!(again.redeliveries >= 1, "the hint is {}", again.redeliveries);
    // Split and dropped is dropped.
    drop(again.into_parts());
    assert_eq!(bench.next_id(&mut receiver).await, "m-1");
    bench.nothing_comes(&mut receiver).await;
}

/// What a receiver handed out and nobody settled comes back once receiver and delivery are gone, with the hint (G1, G7).
pub async fn when_a_receiver_closes_what_nobody_settled_comes_back(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["m-1"]).await;
    let mut receiver = bench.receiver(&queue).await;
    let unsettled = bench.next(&mut receiver).await;
    bench.close(receiver).await;
    drop(unsettled);
    let mut next = bench.receiver(&queue).await;
    let again = bench.next(&mut next).await;
    assert_eq!(id(&again.incoming), "m-1");
    assert!(again.redeliveries >= 1, "the hint is {}", again.redeliveries);
    bench.acknowledge(again.into_parts().1).await;
}

/// What is acknowledged after its receiver has closed is either done for good, or [`Settled::Lost`] and comes again:
/// the answer is true (G1).
pub async fn when_a_message_is_acknowledged_after_the_close_the_answer_is_true(
    fixture: &dyn TransportFixture,
) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["m-1"]).await;
    let mut receiver = bench.receiver(&queue).await;
    let held = bench.next(&mut receiver).await;
    bench.close(receiver).await;
    let settled = bench
        .within("acknowledge", held.into_parts().1.acknowledge())
        .await;
    let mut next = bench.receiver(&queue).await;
    match settled {
        Ok(Settled::Done) => bench.nothing_comes(&mut next).await,
        Ok(Settled::Lost) | Err(_) => assert_eq!(bench.next_id(&mut next).await, "m-1"),
    }
}

/// Released with no delay, it comes again at once, with the hint (G7).
pub async fn when_a_message_is_released_it_comes_again(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["m-1"]).await;
    let mut receiver = bench.receiver(&queue).await;
    let delivery = bench.next(&mut receiver).await;
    bench.release(delivery.into_parts().1, Duration::ZERO).await;
    let again = bench.next(&mut receiver).await;
    assert_eq!(id(&again.incoming), "m-1");
    assert!(again.redeliveries >= 1, "the hint is {}", again.redeliveries);
    bench.acknowledge(again.into_parts().1).await;
    bench.nothing_comes(&mut receiver).await;
}

/// "Comes again, not before `after`"; others pass it meanwhile (G7).
pub async fn when_a_message_is_released_for_later_it_comes_not_before(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["later", "other"]).await;
    let mut receiver = bench.receiver(&queue).await;
    let delivery = bench.next(&mut receiver).await;
    assert_eq!(id(&delivery.incoming), "later");
    let after = fixture.short_delay() * 3;
    let not_before = bench.now() + after;
    bench.release(delivery.into_parts().1, after).await;
    assert_eq!(bench.next_id(&mut receiver).await, "other");
    let again = bench.next(&mut receiver).await;
    bench.assert_not_before(not_before);
    assert_eq!(id(&again.incoming), "later");
    bench.acknowledge(again.into_parts().1).await;
    bench.nothing_comes(&mut receiver).await;
}

/// The right to settle is not lost while the receiver is there and the connection holds.
pub async fn when_nothing_happens_the_lease_is_not_lost(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["m-1"]).await;
    let mut receiver = bench.receiver(&queue).await;
    let (_, settlement) = bench.next(&mut receiver).await.into_parts();
    let lost = bench.at_most(fixture.silence(), settlement.lease_lost()).await;
    assert!(lost.is_none(), "the lease was lost");
    bench.acknowledge(settlement).await;
}
