//! Receivers: waiting, giving up, competing, prefetch, exclusivity, closing.

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::{Context, Poll};

use futures_util::future::join;
use futures_util::task::noop_waker;
use longhaul_core::transport::{Receiver, ReceiverOptions, TransportError, TransportErrorKind};

use crate::transport_suite::TransportFixture;
use crate::transport_suite::bench::{Bench, id, skipped};

/// What a transport answers where there is no such queue to consume.
pub(super) fn is_missing(error: &TransportError) -> bool {
    matches!(
        error.kind(),
        TransportErrorKind::Unroutable | TransportErrorKind::Topology
    )
}

/// "`source` must have been prepared": else an error, not a receiver that waits for ever.
pub async fn when_the_queue_was_not_prepared_there_is_no_receiver(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let opened = bench
        .try_receiver(&bench.address("nowhere"), ReceiverOptions::default())
        .await;
    let error = opened
        .err()
        .unwrap_or_else(|| panic!("a receiver of a missing queue was opened"));
    assert!(is_missing(&error), "{error:?}");
}

/// "The next message": one that waits gets what comes later.
pub async fn when_a_receiver_waits_it_gets_what_comes_later(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut receiver = bench.receiver(&queue).await;
    let sent = async {
        fixture
            .clock()
            .sleep_until(bench.now() + fixture.short_delay())
            .await;
        bench.send_ids(&queue, &["m-1"]).await;
    };
    let (came, ()) = join(bench.next_id(&mut receiver), sent).await;
    assert_eq!(came, "m-1");
}

/// "`receive` is cancel-safe": futures dropped while they wait, and while messages come, lose nothing (G1).
pub async fn when_receiving_is_given_up_nothing_is_lost(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut receiver = bench.receiver(&queue).await;
    let ids: Vec<String> = (0..30).map(|number| format!("m-{number:02}")).collect();
    for id in &ids {
        give_up(&mut receiver);
        bench.send_ids(&queue, &[id]).await;
        give_up(&mut receiver);
    }
    let ids = ids.into_iter().collect();
    assert_eq!(bench.drain(&mut receiver, &ids).await, ids);
}

/// Begins to receive, looks twice, and drops the future. What comes at once is dropped too, unsettled.
fn give_up(receiver: &mut Box<dyn Receiver>) {
    let mut receive = pin!(receiver.receive());
    let waker = noop_waker();
    for _ in 0..2 {
        if let Poll::Ready(taken) = receive.as_mut().poll(&mut Context::from_waker(&waker)) {
            drop(taken);
            return;
        }
    }
}

/// Competing consumers: each message goes to one of them, and all of them get some while they hold what they got (G2).
pub async fn when_consumers_compete_each_message_goes_to_one(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let one_at_a_time = ReceiverOptions {
        prefetch: 1,
        exclusive: false,
    };
    let mut first = bench.receiver_with(&queue, one_at_a_time).await;
    let mut second = bench.receiver_with(&queue, one_at_a_time).await;
    let ids: Vec<String> = (0..40).map(|number| format!("m-{number:02}")).collect();
    bench
        .send_ids(&queue, &ids.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let mut came = Vec::new();
    while came.len() < ids.len() {
        // Both hold one at the same time, so neither can have taken them all.
        let held = [bench.next(&mut first).await, bench.next(&mut second).await];
        for delivery in held {
            let (incoming, settlement) = delivery.into_parts();
            bench.acknowledge(settlement).await;
            came.push(id(&incoming));
        }
    }
    came.sort();
    assert_eq!(came, ids);
    bench.nothing_comes(&mut first).await;
    bench.nothing_comes(&mut second).await;
}

/// "The most messages taken and not yet settled": the next one waits until one is settled.
pub async fn when_the_prefetch_limit_is_reached_the_next_message_waits(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["1", "2", "3", "4"]).await;
    let two = ReceiverOptions {
        prefetch: 2,
        exclusive: false,
    };
    let mut receiver = bench.receiver_with(&queue, two).await;
    let first = bench.next(&mut receiver).await;
    let second = bench.next(&mut receiver).await;
    bench.nothing_comes(&mut receiver).await;
    bench.acknowledge(first.into_parts().1).await;
    let third = bench.next(&mut receiver).await;
    assert_eq!(id(&third.incoming), "3");
    bench.nothing_comes(&mut receiver).await;
    bench.acknowledge(second.into_parts().1).await;
    bench.acknowledge(third.into_parts().1).await;
    assert_eq!(bench.next_id(&mut receiver).await, "4");
}

/// A receiver that waits at its limit goes on as soon as one message is settled elsewhere, without being asked again.
pub async fn when_a_receiver_waits_at_its_limit_it_goes_on_once_one_is_settled(
    fixture: &dyn TransportFixture,
) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["1", "2", "3"]).await;
    let one = ReceiverOptions {
        prefetch: 1,
        exclusive: false,
    };
    let mut receiver = bench.receiver_with(&queue, one).await;
    let mut held = bench.next(&mut receiver).await;
    for expected in ["2", "3"] {
        let settled = async {
            fixture
                .clock()
                .sleep_until(bench.now() + fixture.short_delay())
                .await;
            bench.acknowledge(held.into_parts().1).await;
        };
        let (next, ()) = join(bench.next(&mut receiver), settled).await;
        assert_eq!(id(&next.incoming), expected);
        held = next;
    }
    bench.acknowledge(held.into_parts().1).await;
}

/// One at its limit does not keep messages from another (no message waits behind a consumer that is stuck).
pub async fn when_one_consumer_is_full_another_gets_the_rest(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let one = ReceiverOptions {
        prefetch: 1,
        exclusive: false,
    };
    let mut stuck = bench.receiver_with(&queue, one).await;
    bench.send_ids(&queue, &["held"]).await;
    let held = bench.next(&mut stuck).await;
    bench.send_ids(&queue, &["1", "2", "3"]).await;
    let mut other = bench.receiver_with(&queue, one).await;
    assert_eq!(bench.next_ids(&mut other, 3).await, ["1", "2", "3"]);
    bench.acknowledge(held.into_parts().1).await;
}

/// "Refuse to start where somebody else consumes the queue" (G11).
pub async fn when_somebody_consumes_the_queue_an_exclusive_receiver_is_refused(
    fixture: &dyn TransportFixture,
) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let alone = ReceiverOptions {
        exclusive: true,
        ..ReceiverOptions::default()
    };
    for first in [ReceiverOptions::default(), alone] {
        let receiver = bench.receiver_with(&queue, first).await;
        let other = Bench::new(fixture).await;
        let refused = other.try_receiver(&queue, alone).await.err();
        assert_eq!(refused.map(|error| error.kind()), Some(TransportErrorKind::InUse));
        bench.close(receiver).await;
    }
    let receiver = bench.receiver_with(&queue, alone).await;
    bench.close(receiver).await;
}

/// "Releases what was taken and not handed out": all of it comes again, in order.
pub async fn when_a_receiver_closes_what_it_did_not_hand_out_comes_again(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let ids = ["1", "2", "3", "4", "5"];
    bench.send_ids(&queue, &ids).await;
    let mut receiver = bench.receiver(&queue).await;
    let first = bench.next(&mut receiver).await;
    bench.acknowledge(first.into_parts().1).await;
    bench.close(receiver).await;
    let mut next = bench.receiver(&queue).await;
    // In which order, is not promised: a broker may put back one after the other.
    let came: BTreeSet<String> = bench.next_ids(&mut next, 4).await.into_iter().collect();
    assert_eq!(came, ids[1..].iter().map(|id| (*id).to_owned()).collect());
    bench.nothing_comes(&mut next).await;
}

/// A receiver that is dropped, not closed, gives back the same: by itself, and soon.
pub async fn when_a_receiver_is_dropped_what_it_held_comes_again(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["1", "2", "3"]).await;
    let mut receiver = bench.receiver(&queue).await;
    let unsettled = bench.next(&mut receiver).await;
    drop(unsettled);
    drop(receiver);
    let mut next = bench.receiver(&queue).await;
    let expected = ["1", "2", "3"].map(str::to_owned);
    let came: BTreeSet<String> = bench.next_ids(&mut next, 3).await.into_iter().collect();
    assert_eq!(came, expected.into_iter().collect());
    bench.nothing_comes(&mut next).await;
}

/// "Stops taking": what comes after the close stays for others, with no receiver in between.
pub async fn when_a_receiver_has_closed_it_takes_nothing_more(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let receiver = bench.receiver(&queue).await;
    let mut other = bench.receiver(&queue).await;
    bench.close(receiver).await;
    bench.send_ids(&queue, &["1", "2", "3"]).await;
    assert_eq!(bench.next_ids(&mut other, 3).await, ["1", "2", "3"]);
}

/// "Only what won't mend by itself: the queue is gone": a receiver whose queue was deleted fails, or goes on once the
/// queue is there again; it never stays silent for ever.
pub async fn when_the_queue_is_deleted_the_receiver_does_not_stay_silent(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut receiver = bench.receiver(&queue).await;
    if !fixture.delete_queue(&queue).await {
        return skipped("it can't delete queues");
    }
    if let Some(ended) = bench.at_most(fixture.silence(), receiver.receive()).await {
        assert!(ended.is_err(), "a message came out of a deleted queue");
        receiver = {
            bench.queue("sales").await;
            bench.receiver(&queue).await
        };
    } else {
        bench.queue("sales").await;
    }
    bench.send_ids(&queue, &["m-1"]).await;
    assert_eq!(bench.next_id(&mut receiver).await, "m-1");
}
