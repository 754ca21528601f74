//! What only a durable broker does: restarts, refusals of its database, commits that nobody waits for.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::noop_waker;
use longhaul_core::clock::{Clock, ManualClock};
use longhaul_core::envelope::Incoming;
use longhaul_core::ids::MessageId;
use longhaul_core::transport::{Accepted, Health, Transport, TransportErrorKind};
use longhaul_embedded::{Batch, Database, Options, Scan};
use longhaul_local::{LocalBroker, LocalOptions};
use longhaul_testing::virtual_time::VirtualTime;
use tempfile::TempDir;

use crate::support::{HOUR, clock, id, next, order, sales, send, with_sales};

/// A broker's directory and clock, which outlive it.
struct Lives {
    directory: TempDir,
    clock: ManualClock,
}

/// One life of the broker.
struct Life {
    database: Database,
    broker: LocalBroker,
    time: VirtualTime,
}

impl Lives {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            clock: clock(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn begin(&self) -> Life {
        let database = Database::open(self.path()).expect("opens");
        let broker = LocalBroker::durable(database.clone(), Arc::new(self.clock.clone())).expect("opens");
        let seen = database.clone();
        let time = VirtualTime::new(self.clock.clone()).also_waiting_for(move || seen.in_flight() > 0);
        Life {
            database,
            broker,
            time,
        }
    }
}

impl Life {
    /// A clean stop.
    fn end(self) {
        drop((self.broker, self.time));
        self.database.close().expect("closes");
    }
}

/// Runs `life` in as many lives as it has parts.
macro_rules! lives {
    ($lives:ident, $($life:ident => $body:block)+) => {
        $(
            let $life = $lives.begin();
            $life.time.block_on(async $body);
            $life.end();
        )+
    };
}

#[test]
fn when_the_broker_restarts_the_line_is_as_it_was() {
    let lives = Lives::new();
    lives! { lives,
        life => {
            let (broker, _) = with_sales(life.broker.clone()).await;
            let start = lives.clock.now();
            send(&broker, "due at 1", Some(start + HOUR)).await;
            send(&broker, "at 0", None).await;
            lives.clock.advance(HOUR);
            send(&broker, "at 1", None).await;
            lives.clock.advance(HOUR);
            send(&broker, "at 2", None).await;
            send(&broker, "due at 4", Some(start + HOUR * 4)).await;
        }
        life => {
            let (_, mut receiver) = with_sales(life.broker.clone()).await;
            for expected in ["at 0", "at 1", "due at 1", "at 2", "due at 4"] {
                assert_eq!(next(&mut receiver).await, expected);
            }
            assert_eq!(lives.clock.now().to_string(), "1970-01-01T04:00:00Z");
        }
        life => {
            assert_eq!(life.broker.len(&sales()), Some(0), "acknowledged before a clean stop");
        }
    }
    let database = Database::open(lives.path()).expect("opens");
    let left = database.scan(&Scan::all()).expect("reads");
    assert_eq!(left.len(), 1, "nothing but the queue is left: {left:?}");
}

#[test]
fn when_a_message_is_never_settled_each_restart_counts_and_its_neighbours_may_too() {
    let lives = Lives::new();
    lives! { lives,
        life => {
            let (broker, _) = with_sales(life.broker.clone()).await;
            for number in 0..100 {
                send(&broker, &number.to_string(), None).await;
            }
        }
    }
    for restart in 0..3 {
        lives! { lives,
            life => {
                let (_, mut receiver) = with_sales(life.broker.clone()).await;
                let held = receiver.receive().await.expect("receives");
                assert_eq!((id(&held).as_str(), held.redeliveries), ("0", restart));
            }
        }
    }
    let life = lives.begin();
    let seen = life.broker.browse(&sales(), 100).expect("exists");
    assert_eq!(seen[0].deliveries, 3);
    assert_eq!(seen[63].deliveries, 3, "counted with it");
    assert_eq!(seen[64].deliveries, 0, "stands too far behind");
    life.end();
}

#[test]
fn when_a_message_was_released_for_later_a_restart_does_not_bring_it_earlier() {
    let lives = Lives::new();
    lives! { lives,
        life => {
            let (broker, mut receiver) = with_sales(life.broker.clone()).await;
            send(&broker, "m-1", None).await;
            let delivery = receiver.receive().await.expect("receives");
            delivery.into_parts().1.release(HOUR).await.expect("releases");
        }
        life => {
            let (_, mut receiver) = with_sales(life.broker.clone()).await;
            let again = receiver.receive().await.expect("receives");
            assert_eq!((id(&again).as_str(), again.redeliveries), ("m-1", 1));
            assert_eq!(lives.clock.now().to_string(), "1970-01-01T01:00:00Z");
            again.into_parts().1.acknowledge().await.expect("acknowledges");
        }
        life => {
            assert_eq!(life.broker.len(&sales()), Some(0));
        }
    }
}

#[test]
fn when_bodies_and_headers_are_large_they_survive_and_leave_nothing_behind() {
    let lives = Lives::new();
    let hostile = Incoming {
        id: None,
        headers: vec![
            ("a".to_owned(), vec![0xff; 100_000]),
            ("a".to_owned(), Vec::new()),
        ],
        body: Bytes::from(vec![7; 1 << 20]),
        native: None,
    };
    lives! { lives,
        life => {
            let (broker, _) = with_sales(life.broker.clone()).await;
            broker.publish_raw(&sales(), hostile.clone()).await.expect("is let in");
        }
        life => {
            let (_, mut receiver) = with_sales(life.broker.clone()).await;
            let (incoming, settlement) = receiver.receive().await.expect("receives").into_parts();
            assert!(incoming.body == hostile.body && incoming.headers == hostile.headers && incoming.id.is_none());
            settlement.acknowledge().await.expect("acknowledges");
        }
    }
    let database = Database::open(lives.path()).expect("opens");
    assert_eq!(database.count(&Scan::all()).expect("reads"), 1);
}

#[test]
fn when_a_body_is_over_the_databases_limit_only_that_message_is_refused() {
    let lives = Lives::new();
    let database = Database::open_with(lives.path(), Options::new().max_value_bytes(100_000)).expect("opens");
    let options = LocalOptions::new().max_body(1 << 20);
    let broker = LocalBroker::durable_with(database.clone(), Arc::new(lives.clock.clone()), options);
    let broker = broker.expect("opens");
    let seen = database.clone();
    let time = VirtualTime::new(lives.clock.clone()).also_waiting_for(move || seen.in_flight() > 0);
    time.block_on(async {
        let (broker, mut receiver) = with_sales(broker).await;
        let mut large = order("large", None);
        large.envelope.body = Bytes::from(vec![0; 100_001]);
        let batch = [order("1", None), large, order("2", None)];
        let results = broker.dispatch(&batch).await;
        assert!(matches!(results[0], Ok(Accepted::Queued)) && matches!(results[2], Ok(Accepted::Queued)));
        let error = results[1].as_ref().expect_err("is too large");
        assert_eq!(error.kind(), TransportErrorKind::Invalid);
        assert!(
            error.to_string().contains("send message large: it is too large"),
            "{error}"
        );
        assert_eq!(next(&mut receiver).await, "1");
        assert_eq!(next(&mut receiver).await, "2");
        assert_eq!(broker.len(&sales()), Some(0));
    });
}

#[test]
fn when_a_dispatch_is_given_up_its_message_comes_all_the_same_and_is_durable_first() {
    let lives = Lives::new();
    lives! { lives,
        life => {
            let (broker, mut receiver) = with_sales(life.broker.clone()).await;
            {
                let batch = [order("m-1", None)];
                let mut dispatch = pin!(broker.dispatch(&batch));
                let waker = noop_waker();
                let polled = dispatch.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(matches!(polled, Poll::Pending), "not before it is durable");
                assert!(broker.browse(&sales(), 1).expect("exists").is_empty(), "not before it is durable");
                assert_eq!(broker.len(&sales()), Some(1), "counts already");
            }
            assert_eq!(next(&mut receiver).await, "m-1");
        }
    }
}

#[test]
fn when_a_second_broker_opens_on_the_same_database_it_is_refused_until_the_first_is_gone() {
    let lives = Lives::new();
    let life = lives.begin();
    let second = LocalBroker::durable(life.database.clone(), Arc::new(clock()));
    assert_eq!(second.expect_err("is refused").kind(), TransportErrorKind::InUse);
    let Life {
        database,
        broker,
        time,
    } = life;
    drop((broker, time));
    LocalBroker::durable(database, Arc::new(clock())).expect("opens");
}

#[test]
fn when_a_queue_is_deleted_or_a_message_taken_a_restart_does_not_bring_it_back() {
    let lives = Lives::new();
    lives! { lives,
        life => {
            let (broker, mut receiver) = with_sales(life.broker.clone()).await;
            for id in ["1", "2", "3"] {
                send(&broker, id, None).await;
            }
            let held = receiver.receive().await.expect("receives");
            let two = MessageId::new("2").expect("valid");
            assert!(broker.take(&sales(), &two).await.expect("takes").is_some());
            drop(held);
        }
        life => {
            let (broker, mut receiver) = with_sales(life.broker.clone()).await;
            assert_eq!(next(&mut receiver).await, "1");
            assert_eq!(broker.len(&sales()), Some(1));
            assert!(broker.delete_queue(&sales()).await.expect("deletes"));
            // One of the same name begins empty, and none of its messages is taken for an old one.
            let (broker, _) = with_sales(broker).await;
            send(&broker, "new", None).await;
        }
        life => {
            let (_, mut receiver) = with_sales(life.broker.clone()).await;
            assert_eq!(next(&mut receiver).await, "new");
            assert_eq!(life.broker.len(&sales()), Some(0));
        }
    }
}

#[test]
fn when_the_database_is_closed_the_broker_says_so_to_everybody() {
    let lives = Lives::new();
    let life = lives.begin();
    life.time.block_on(async {
        let (broker, mut receiver) = with_sales(life.broker.clone()).await;
        send(&broker, "1", None).await;
        send(&broker, "2", None).await;
        let held = receiver.receive().await.expect("receives");
        let health = broker.health();
        assert_eq!(*health.borrow(), Health::Connected);
        life.database.clone().close().expect("closes");
        let error = broker
            .dispatch(&[order("3", None)])
            .await
            .pop()
            .expect("one")
            .expect_err("is closed");
        assert_eq!(error.kind(), TransportErrorKind::Closed);
        assert!(matches!(&*health.borrow(), Health::Disconnected(_)));
        let error = receiver.receive().await.expect_err("is closed");
        assert_eq!(error.kind(), TransportErrorKind::Closed);
        assert!(
            held.into_parts().1.acknowledge().await.is_err(),
            "it was not written down"
        );
    });
}

#[test]
fn when_the_engine_has_no_room_acknowledgements_wait_and_none_is_forgotten() {
    let lives = Lives::new();
    let options = Options::new().queue_batches(1);
    let messages = 2_000;
    {
        let database = Database::open_with(lives.path(), options).expect("opens");
        let broker = LocalBroker::durable(database.clone(), Arc::new(lives.clock.clone())).expect("opens");
        let seen = database.clone();
        let time = VirtualTime::new(lives.clock.clone()).also_waiting_for(move || seen.in_flight() > 0);
        time.block_on(async {
            let (broker, mut receiver) = with_sales(broker).await;
            for batch in 0..messages / 100 {
                let batch: Vec<_> = (0..100)
                    .map(|number| order(&format!("{batch}-{number}"), None))
                    .collect();
                let results = broker.dispatch(&batch).await;
                assert!(results.iter().all(Result::is_ok), "{results:?}");
            }
            for _ in 0..messages {
                next(&mut receiver).await;
            }
            // A receiver that finds nothing hands over what is left, as soon as there is room.
            for _ in 0..1_000 {
                let look = pin!(receiver.receive()).poll(&mut Context::from_waker(&noop_waker()));
                assert!(look.is_pending());
                database.ready().await;
            }
        });
        database.close().expect("closes");
    }
    let life = lives.begin();
    assert_eq!(life.broker.len(&sales()), Some(0));
    life.end();
}

#[test]
fn when_nobody_stops_the_time_a_delay_of_years_survives_many_restarts() {
    let lives = Lives::new();
    let year = Duration::from_secs(365 * 86_400);
    lives! { lives,
        life => {
            let (broker, _) = with_sales(life.broker.clone()).await;
            send(&broker, "far", Some(lives.clock.now() + year * 8)).await;
        }
    }
    for _ in 0..4 {
        lives.clock.advance(year);
        let life = lives.begin();
        assert_eq!(life.broker.queue_lengths()[&sales()].delayed, 1);
        life.end();
    }
    lives! { lives,
        life => {
            let (_, mut receiver) = with_sales(life.broker.clone()).await;
            assert_eq!(next(&mut receiver).await, "far");
            assert_eq!(lives.clock.now().to_string(), "1977-12-30T00:00:00Z");
        }
    }
}

#[test]
fn when_a_queue_is_deleted_and_made_again_while_messages_are_accepted_they_stay_with_the_old_one() {
    let lives = Lives::new();
    lives! { lives,
        life => {
            let (broker, _) = with_sales(life.broker.clone()).await;
            for _ in 0..20 {
                let batch = [order("old", None)];
                // Each of the three changes the queues at once and then waits for the disk.
                let (accepted, deleted, (broker, mut receiver)) = futures_util::future::join3(
                    broker.dispatch(&batch),
                    broker.delete_queue(&sales()),
                    with_sales(broker.clone()),
                )
                .await;
                assert!(matches!(accepted[..], [Ok(Accepted::Queued)]), "{accepted:?}");
                assert!(deleted.expect("deletes"));
                assert_eq!(broker.len(&sales()), Some(0));
                send(&broker, "new", None).await;
                assert_eq!(next(&mut receiver).await, "new");
            }
        }
        life => {
            assert_eq!(life.broker.len(&sales()), Some(0));
        }
    }
    let database = Database::open(lives.path()).expect("opens");
    let left = database.scan(&Scan::all()).expect("reads");
    assert_eq!(left.len(), 1, "nothing but the queue is left: {left:?}");
}

#[test]
fn when_a_crash_left_the_progress_of_a_message_that_is_gone_no_later_one_takes_it_over() {
    let lives = Lives::new();
    let progress = Scan::prefix(b"broker\0p");
    let mut orphan = None;
    lives! { lives,
        life => {
            let (_, mut receiver) = with_sales(life.broker.clone()).await;
            send(&life.broker, "old", None).await;
            let delivery = receiver.receive().await.expect("receives");
            delivery.into_parts().1.release(HOUR).await.expect("releases");
            life.database.settle();
            orphan = life.database.scan(&progress).expect("reads").into_iter().next();
            lives.clock.advance(HOUR);
            assert_eq!(next(&mut receiver).await, "old");
        }
    }
    let database = Database::open(lives.path()).expect("opens");
    let (key, value) = orphan.expect("its progress was stored");
    let mut batch = Batch::new();
    batch.put(key, value);
    database.submit(batch).expect("has room");
    database.settle();
    database.close().expect("closes");
    lives! { lives,
        life => {
            let (broker, mut receiver) = with_sales(life.broker.clone()).await;
            send(&broker, "new", None).await;
            drop(receiver.receive().await.expect("receives"));
        }
        life => {
            let (_, mut receiver) = with_sales(life.broker.clone()).await;
            let delivery = receiver.receive().await.expect("receives");
            assert_eq!(delivery.redeliveries, 0, "this one was seen once, and not counted");
            delivery.into_parts().1.acknowledge().await.expect("acknowledges");
        }
    }
    let database = Database::open(lives.path()).expect("opens");
    let left = database.scan(&Scan::all()).expect("reads");
    assert_eq!(left.len(), 1, "nothing but the queue is left: {left:?}");
}
