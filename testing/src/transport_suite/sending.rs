//! One result per entry, the right one, and order.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::task::noop_waker;
use longhaul_core::transport::{Accepted, Dispatch, Transport, TransportError, TransportErrorKind};

use crate::transport_suite::TransportFixture;
use crate::transport_suite::bench::{Bench, event, to_queue};

fn kind(result: &Result<Accepted, TransportError>) -> Result<Accepted, TransportErrorKind> {
    result
        .as_ref()
        .map(|accepted| *accepted)
        .map_err(TransportError::kind)
}

/// "One result per entry": none for none.
pub async fn when_a_batch_is_empty_there_are_no_results(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    assert!(bench.dispatch(&[]).await.is_empty());
}

/// "Entries for one queue without a due time arrive in the order given", in one batch and over several.
pub async fn when_messages_are_sent_in_order_they_arrive_in_order(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let ids: Vec<String> = (0..200).map(|number| format!("m-{number:03}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    for batch in [&ids[..1], &ids[1..100], &ids[100..101], &ids[101..]] {
        bench.send_ids(&queue, batch).await;
    }
    let mut receiver = bench.receiver(&queue).await;
    assert_eq!(bench.next_ids(&mut receiver, ids.len()).await, ids);
}

/// "The largest batch that `dispatch` takes at once" is taken.
pub async fn when_a_batch_is_as_large_as_it_may_be_all_of_it_arrives(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let ids: Vec<String> = (0..bench.transport.capabilities().max_batch)
        .map(|number| number.to_string())
        .collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    bench.send_ids(&queue, &ids).await;
    let mut receiver = bench.receiver(&queue).await;
    assert_eq!(bench.next_ids(&mut receiver, ids.len()).await, ids);
}

/// "To one queue": it reaches that one only.
pub async fn when_a_batch_goes_to_several_queues_each_gets_its_own(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let (sales, billing) = (bench.queue("sales").await, bench.queue("billing").await);
    let batch = [
        to_queue("s-1", &sales),
        to_queue("b-1", &billing),
        to_queue("s-2", &sales),
    ];
    let results = bench.dispatch(&batch).await;
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Ok(Accepted::Queued))),
        "{results:?}"
    );
    let (mut sales, mut billing) = (bench.receiver(&sales).await, bench.receiver(&billing).await);
    assert_eq!(bench.next_ids(&mut sales, 2).await, ["s-1", "s-2"]);
    assert_eq!(bench.next_id(&mut billing).await, "b-1");
    bench.nothing_comes(&mut sales).await;
    bench.nothing_comes(&mut billing).await;
}

/// A command to a queue that does not exist is an error that may mend: it is retryable, and never a success (G3, G13).
pub async fn when_there_is_no_such_queue_the_error_is_retryable(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let nowhere = bench.address("nowhere");
    let results = bench.dispatch(&[to_queue("m-1", &nowhere)]).await;
    assert_eq!(kind(&results[0]), Err(TransportErrorKind::Unroutable));
    assert!(results[0].as_ref().is_err_and(TransportError::is_retryable));
}

/// Once the queue is there, the same message is taken.
pub async fn when_the_missing_queue_appears_the_message_is_taken(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let late = bench.address("late");
    let message = [to_queue("m-1", &late)];
    assert_eq!(
        kind(&bench.dispatch(&message).await[0]),
        Err(TransportErrorKind::Unroutable)
    );
    bench.queue("late").await;
    assert_eq!(kind(&bench.dispatch(&message).await[0]), Ok(Accepted::Queued));
    let mut receiver = bench.receiver(&late).await;
    assert_eq!(bench.next_id(&mut receiver).await, "m-1");
    bench.nothing_comes(&mut receiver).await;
}

/// A body over the limit can never be sent: the error says so, and is not retryable (G3).
pub async fn when_a_body_is_over_the_limit_the_error_is_final(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let results = bench
        .dispatch(&[too_large(&bench, "m-1", to_queue("m-1", &queue))])
        .await;
    assert_eq!(kind(&results[0]), Err(TransportErrorKind::Invalid));
    assert!(!results[0].as_ref().is_err_and(TransportError::is_retryable));
}

fn too_large(bench: &Bench<'_>, id: &str, mut dispatch: Dispatch) -> Dispatch {
    assert_eq!(dispatch.envelope.id.as_str(), id);
    let most = bench.transport.capabilities().max_body;
    dispatch.envelope.body = Bytes::from(vec![b' '; most + 1]);
    dispatch
}

/// "One result per entry, in the order of `batch`": good ones, ones without a queue, too large ones, events without
/// subscribers and ones delayed for too long, mixed; each result belongs to its own message, and exactly the accepted
/// ones arrive (G3, G13).
pub async fn when_good_and_bad_are_mixed_each_gets_its_own_result(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let nowhere = bench.address("nowhere");
    let unheard = fixture.unique("nobody.listens.v1");
    let too_late = bench.now() + bench.transport.capabilities().max_delay_storeless * 2;
    let (mut batch, mut expected, mut good) = (Vec::new(), Vec::new(), Vec::new());
    let most = bench.transport.capabilities().max_batch.min(50);
    for number in 0..most {
        let id = format!("m-{number:03}");
        // No two neighbours of one kind follow each other in the same way twice.
        let (dispatch, result) = match number * number % 7 {
            1 => (to_queue(&id, &nowhere), Err(TransportErrorKind::Unroutable)),
            2 if number % 3 == 0 => (event(&id, &unheard), Ok(Accepted::NoSubscribers)),
            2 => (
                too_large(&bench, &id, to_queue(&id, &queue)),
                Err(TransportErrorKind::Invalid),
            ),
            4 if number % 2 == 0 => {
                let mut late = to_queue(&id, &queue);
                late.due = Some(too_late);
                (late, Err(TransportErrorKind::Invalid))
            }
            _ => {
                good.push(id.clone());
                (to_queue(&id, &queue), Ok(Accepted::Queued))
            }
        };
        batch.push(dispatch);
        expected.push(result);
    }
    let results: Vec<_> = bench.dispatch(&batch).await.iter().map(kind).collect();
    assert_eq!(results, expected);
    let mut receiver = bench.receiver(&queue).await;
    assert_eq!(bench.next_ids(&mut receiver, good.len()).await, good);
    bench.nothing_comes(&mut receiver).await;
}

/// The same from several senders at once on one transport: no result is that of another batch (G3).
pub async fn when_several_send_at_once_each_gets_its_own_results(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let nowhere = bench.address("nowhere");
    let size = bench.transport.capabilities().max_batch.min(25);
    let senders = (0..8).map(|sender| {
        let (bench, queue, nowhere) = (&bench, &queue, &nowhere);
        async move {
            for round in 0..4 {
                let id = |number| format!("m-{sender}-{round}-{number:02}");
                let is_good = |number: usize| (number + sender + round).is_multiple_of(2);
                let to = |number| if is_good(number) { queue } else { nowhere };
                let batch: Vec<_> = (0..size)
                    .map(|number| to_queue(&id(number), to(number)))
                    .collect();
                for (number, result) in bench.dispatch(&batch).await.iter().enumerate() {
                    let expected = if is_good(number) {
                        Ok(Accepted::Queued)
                    } else {
                        Err(TransportErrorKind::Unroutable)
                    };
                    assert_eq!(kind(result), expected, "{}", id(number));
                }
            }
        }
    });
    join_all(senders).await;
    let mut receiver = bench.receiver(&queue).await;
    let expected = (0..8).flat_map(|sender| {
        (0..4).flat_map(move |round| {
            let good = (0..size).filter(move |number| (number + sender + round).is_multiple_of(2));
            good.map(move |number| format!("m-{sender}-{round}-{number:02}"))
        })
    });
    let expected = expected.collect();
    assert_eq!(bench.drain(&mut receiver, &expected).await, expected);
}

/// "Dropping the future gives up the answers, not necessarily the sends": what was given up may come, whole and at most
/// once, and what is sent afterwards is not disturbed.
pub async fn when_a_dispatch_is_given_up_later_ones_are_not_disturbed(fixture: &dyn TransportFixture) {
    let bench = Bench::new(fixture).await;
    let queue = bench.queue("sales").await;
    let nowhere = bench.address("nowhere");
    for number in 0..20 {
        let given_up = [
            to_queue(&format!("given-up-{number}"), &queue),
            to_queue("lost", &nowhere),
        ];
        give_up(&*bench.transport, &given_up, number % 4);
        let kept = [
            to_queue("lost", &nowhere),
            to_queue(&format!("kept-{number}"), &queue),
        ];
        let results: Vec<_> = bench.dispatch(&kept).await.iter().map(kind).collect();
        assert_eq!(
            results,
            [Err(TransportErrorKind::Unroutable), Ok(Accepted::Queued)]
        );
    }
    let mut receiver = bench.receiver(&queue).await;
    let kept = (0..20).map(|number| format!("kept-{number}")).collect();
    let came = bench.drain(&mut receiver, &kept).await;
    assert!(!came.contains("lost"));
}

/// Begins to dispatch, looks at it a few times, and drops it.
fn give_up(transport: &dyn Transport, batch: &[Dispatch], polls: usize) {
    let mut dispatch = pin!(transport.dispatch(batch));
    let waker = noop_waker();
    for _ in 0..polls {
        if let Poll::Ready(_answers) = dispatch.as_mut().poll(&mut Context::from_waker(&waker)) {
            return;
        }
    }
}
