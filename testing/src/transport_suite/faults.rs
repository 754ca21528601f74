//! Lost connections and restarts of the broker. Each case needs an ability of the fixture.

use std::collections::BTreeSet;

use futures_util::future::join;
use longhaul_core::transport::{Accepted, ReceiverOptions, Settled, TransportError, TransportErrorKind};

use crate::transport_suite::TransportFixture;
use crate::transport_suite::bench::{Bench, due, event, id, skipped, to_queue};

/// "It reconnects by itself, for as long as it takes": a receiver that waits gets what comes after the cut.
pub async fn when_the_connection_is_cut_a_receiver_comes_back_by_itself(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut receiver = bench.receiver(&queue).await;
    if !fixture.cut_connections().await {
        return skipped("it can't cut connections");
    }
    let sent = send_until_accepted(&bench, "m-1", &queue);
    let (came, ()) = join(bench.next_id(&mut receiver), sent).await;
    assert_eq!(came, "m-1");
}

/// Sends again under the same id as long as the error may mend. What is unknown may have been taken: it is sent again.
async fn send_until_accepted(bench: &Bench<'_>, id: &str, queue: &longhaul_core::address::Address) {
    for _ in 0..200 {
        match bench.dispatch(&[to_queue(id, queue)]).await.pop() {
            Some(Ok(_)) => return,
            Some(Err(error)) => assert!(error.is_retryable(), "failed to {error}"),
            None => panic!("there was no result"),
        }
        let later = bench.now() + bench.fixture.short_delay();
        bench.fixture.clock().sleep_until(later).await;
    }
    panic!("the connection did not come back");
}

/// "After a reconnection it is [`Settled::Lost`], never somebody else's message": the held one comes again, and the old
/// right settles neither it nor another (G1).
pub async fn when_the_connection_is_cut_an_old_acknowledgement_settles_nothing(
    fixture: &dyn TransportFixture,
) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["1", "2", "3"]).await;
    let mut receiver = bench.receiver(&queue).await;
    let (incoming, settlement) = bench.next(&mut receiver).await.into_parts();
    assert_eq!(id(&incoming), "1");
    let lost = settlement.lease_lost();
    if !fixture.cut_connections().await {
        return skipped("it can't cut connections");
    }
    bench.within("learn that the lease is lost", lost).await;
    let mut again = Vec::new();
    for _ in 0..3 {
        again.push(bench.next(&mut receiver).await);
    }
    let settled = bench.within("acknowledge", settlement.acknowledge()).await;
    assert!(matches!(settled, Ok(Settled::Lost) | Err(_)), "{settled:?}");
    let mut ids: Vec<String> = again.iter().map(|delivery| id(&delivery.incoming)).collect();
    ids.sort();
    assert_eq!(ids, ["1", "2", "3"]);
    assert!(
        again.iter().any(|delivery| delivery.redeliveries >= 1),
        "none has the hint"
    );
    drop(again);
    bench.close(receiver).await;
    // The old right has taken none of them away.
    let mut next = bench.receiver(&queue).await;
    assert_eq!(bench.next_ids(&mut next, 3).await.len(), 3);
    bench.nothing_comes(&mut next).await;
}

/// Sending through cuts: every result is true. What was accepted comes; what comes was accepted or its outcome was
/// unknown (G3).
pub async fn when_the_connection_is_cut_while_sending_the_results_are_true(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    if !fixture.cut_connections().await {
        return skipped("it can't cut connections");
    }
    let (mut accepted, mut possible) = (BTreeSet::from(["last".to_owned()]), Vec::new());
    for round in 0..6 {
        let ids: Vec<String> = (0..50).map(|number| format!("m-{round}-{number:02}")).collect();
        let batch: Vec<_> = ids.iter().map(|id| to_queue(id, &queue)).collect();
        let (results, _) = join(bench.dispatch(&batch), fixture.cut_connections()).await;
        for (id, result) in ids.into_iter().zip(results) {
            match result.as_ref().map_err(TransportError::kind) {
                Ok(Accepted::Queued) => drop(accepted.insert(id)),
                Err(TransportErrorKind::Unknown) => possible.push(id),
                Err(TransportErrorKind::Disconnected | TransportErrorKind::Rejected) => {}
                other => panic!("{id}: {other:?}"),
            }
        }
    }
    send_until_accepted(&bench, "last", &queue).await;
    let mut receiver = bench.receiver(&queue).await;
    let came = bench.drain(&mut receiver, &accepted).await;
    for id in &came {
        assert!(
            accepted.contains(id) || possible.contains(id),
            "{id} came, though it was refused"
        );
    }
}

/// The health says so when the connection is back.
pub async fn when_the_connection_comes_back_the_health_says_so(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let mut receiver = bench.receiver(&queue).await;
    if !fixture.cut_connections().await {
        return skipped("it can't cut connections");
    }
    let sent = send_until_accepted(&bench, "m-1", &queue);
    let (_, ()) = join(bench.next_id(&mut receiver), sent).await;
    bench.connected().await;
}

/// "Whether accepted messages survive": queues, subscriptions, messages, their order, delays and bytes do; what was
/// acknowledged long before does not come back (G1, G6).
pub async fn when_a_durable_broker_restarts_what_it_accepted_is_there(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    if !bench.transport.capabilities().durable {
        return skipped("its transport is not durable");
    }
    let name = fixture.unique("sales.order_placed.v1");
    let [first, second] = bench.subscribers(&name).await;
    bench.send_ids(&first, &["done"]).await;
    let mut receiver = bench.receiver(&first).await;
    assert_eq!(bench.next_id(&mut receiver).await, "done");
    bench.close(receiver).await;
    bench.send_ids(&first, &["1", "2"]).await;
    let time = bench.now() + fixture.short_delay() * 20;
    bench.send(due("delayed", &first, time)).await;
    bench.send(event("3", &name)).await;
    let Some(bench) = bench.restarted().await else {
        return;
    };
    let mut receiver = bench.receiver(&first).await;
    assert_eq!(bench.next_ids(&mut receiver, 3).await, ["1", "2", "3"]);
    bench.send(event("4", &name)).await;
    assert_eq!(bench.next_ids(&mut receiver, 2).await, ["4", "delayed"]);
    bench.assert_not_before(time);
    bench.nothing_comes(&mut receiver).await;
    let mut receiver = bench.receiver(&second).await;
    assert_eq!(bench.next_ids(&mut receiver, 2).await, ["3", "4"]);
}

/// What was handed out and not settled when the broker went down comes again, in its order, with the hint in the end:
/// a message that ends the process shows by its count (G7).
///
/// One message is out at a time: with more, one that is given back first while its consumer lives may come to that
/// consumer once more, behind the others, and a broker may give them back in that order.
pub async fn when_a_durable_broker_restarts_what_nobody_settled_comes_again(fixture: &dyn TransportFixture) {
    let mut bench = Bench::new(fixture).await;
    if !bench.transport.capabilities().durable {
        return skipped("its transport is not durable");
    }
    let queue = bench.queue("sales").await;
    bench.send_ids(&queue, &["1", "2"]).await;
    let mut hints = Vec::new();
    let one = ReceiverOptions {
        prefetch: 1,
        ..ReceiverOptions::default()
    };
    for _ in 0..4 {
        let mut receiver = bench.receiver_with(&queue, one).await;
        let held = bench.next(&mut receiver).await;
        assert_eq!(id(&held.incoming), "1");
        hints.push(held.redeliveries);
        drop((held, receiver));
        let Some(restarted) = bench.restarted().await else {
            return;
        };
        bench = restarted;
    }
    assert!(hints.is_sorted() && hints[3] >= 1, "the hints were {hints:?}");
    let mut receiver = bench.receiver(&queue).await;
    assert_eq!(bench.next_ids(&mut receiver, 2).await, ["1", "2"]);
}
