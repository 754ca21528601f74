//! What is still there after the endpoint has stopped and started again.

use std::sync::Arc;

use longhaul_core::store::InboxState;

use super::fixture::StoreFixture;
use super::sample::{Unit, at, endpoint, key, message, timeout};
use super::subject::Subject;

/// Everything that was committed is there after a restart. (G1, G2, G5, G6)
pub async fn when_the_endpoint_restarts_everything_is_there(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let scheduled = InboxState::Scheduled {
        generation: 2,
        attempts: 5,
        since: at(3),
    };
    let unit = Unit::new().done("m-1").inbox("m-2", None, Some(scheduled), at(4));
    let unit = unit
        .put("7", None, vec![1; 60_000])
        .put_until("8", None, "b", Some(at(10)));
    subject
        .commit(unit.add(message("r-1", at(2))).add(timeout("t-1", at(1), at(60))))
        .await;
    subject
        .commit(
            Unit::new()
                .put("7", Some(1), vec![2; 60_000])
                .alarm_sent("t-1", 1, at(65)),
        )
        .await;
    subject
        .commit(
            Unit::new()
                .add(message("r-2", at(0)))
                .park("r-2", "why")
                .add(message("r-3", at(0))),
        )
        .await;
    subject.commit(Unit::new().sent("r-3").put("9", None, "c")).await;
    subject.commit(Unit::new().delete("9", 1)).await;
    let (listed, records) = (subject.listed().await, subject.listed_records("order").await);
    let sizes = subject.sizes().await;

    let subject = subject.restarted(fixture).await;
    assert_eq!(subject.inbox("m-1").await, Some(InboxState::Done));
    assert_eq!(subject.inbox("m-2").await, Some(scheduled));
    assert_eq!(subject.listed_records("order").await, records);
    assert_eq!(subject.record_at(key("8"), at(10)).await, None);
    assert_eq!(subject.record("9").await, None);
    assert_eq!(subject.listed().await, listed);
    assert_eq!(subject.sizes().await, sizes);
    assert_eq!(subject.claim(at(64)).await, ["r-1"]);
    assert_eq!(subject.claim(at(65)).await, ["t-1"]);
}

/// The store goes on where it stopped: versions, tokens, ages and expectations. (G2, G4, G6, G10)
pub async fn when_the_endpoint_restarts_it_goes_on_where_it_stopped(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let done = Some(InboxState::Done);
    let unit = Unit::new()
        .inbox("old", None, done, at(1))
        .inbox("young", None, done, at(5));
    subject
        .commit(unit.put_until("7", None, "a", Some(at(10))).put("8", None, "a"))
        .await;
    subject
        .commit(
            Unit::new()
                .add(timeout("t-1", at(0), at(60)))
                .move_to("t-1", at(70), at(1)),
        )
        .await;

    let subject = subject.restarted(fixture).await;
    subject.conflicts(Unit::new().done("old")).await;
    subject.conflicts(Unit::new().put("8", None, "b")).await;
    subject.conflicts(Unit::new().fire("t-1", 1)).await;
    subject
        .commit(
            Unit::new()
                .inbox("m-1", None, done, at(11))
                .put("7", None, "b")
                .put("8", Some(1), "b"),
        )
        .await;
    assert_eq!(subject.version("7").await, Some(2));
    assert_eq!(subject.purge(at(5), at(99), 10).await, 1);
    assert_eq!(subject.inbox("old").await, None);
    assert_eq!(subject.inbox("young").await, done);
    subject.commit(Unit::new().move_to("t-1", at(80), at(2))).await;
    subject.commit(Unit::new().fire("t-1", 3)).await;

    let subject = subject.restarted(fixture).await;
    assert_eq!(subject.row("t-1").await, None);
    assert_eq!(subject.version("8").await, Some(2));
    let sizes = subject.sizes().await;
    assert_eq!((sizes.inbox, sizes.records, sizes.timeouts), (2, 2, 0));
}

/// All endpoints of a database come back, each with its own.
pub async fn when_a_database_is_opened_again_every_endpoint_has_its_own(fixture: &dyn StoreFixture) {
    let persistence = fixture.create().await;
    let names = ["sales", "sales.eu", "billing"];
    for name in names {
        let subject = Subject::of(Arc::clone(&persistence), &endpoint(name)).await;
        subject
            .commit(Unit::new().put("7", None, name).add(message(name, at(0))))
            .await;
    }
    drop(persistence);
    let persistence = fixture.reopen().await;
    for name in names {
        let subject = Subject::of(Arc::clone(&persistence), &endpoint(name)).await;
        assert_eq!(
            subject.record("7").await.map(|record| record.body),
            Some(name.into())
        );
        assert_eq!(subject.claim(at(0)).await, [name]);
    }
}

/// What a store says of itself never changes.
pub async fn when_a_store_is_asked_again_what_it_is_it_says_the_same(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let (durability, is_shared) = (subject.store.durability(), subject.store.is_shared());
    subject.commit(Unit::new().done("m-1")).await;
    assert_eq!(
        (subject.store.durability(), subject.store.is_shared()),
        (durability, is_shared)
    );
    let subject = subject.restarted(fixture).await;
    assert_eq!(
        (subject.store.durability(), subject.store.is_shared()),
        (durability, is_shared)
    );
}
