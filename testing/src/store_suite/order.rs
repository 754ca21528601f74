//! Units that are committed at the same time.

use futures_util::future::{join, join_all};
use longhaul_core::store::{InboxState, Store, StoreError, StoreErrorKind};

use super::fixture::StoreFixture;
use super::sample::{Unit, at, message, timeout};
use super::subject::Subject;

/// Of several units that expect a message to be unknown, exactly one is committed. (G2)
pub async fn when_one_message_is_handled_at_once_by_several_exactly_one_commits(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let results = all_at_once(
        &*subject.store,
        (0..16).map(|number| {
            Unit::new()
                .done("m-1")
                .put(number.to_string(), None, "a")
                .add(message(format!("r-{number}"), at(0)))
        }),
    );
    one_wins(&results.await);
    let sizes = subject.sizes().await;
    assert_eq!((sizes.inbox, sizes.records, sizes.unsent), (1, 1, 1));
}

/// Of several units that expect one version of a record, exactly one is committed. (G4)
pub async fn when_one_record_is_changed_at_once_by_several_exactly_one_commits(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    for expected in [None, Some(1), Some(2)] {
        let units = (0..16).map(|number| Unit::new().put("7", expected, number.to_string()));
        one_wins(&all_at_once(&*subject.store, units).await);
    }
    assert_eq!(subject.version("7").await, Some(3));
    let units = (0..16).map(|_| Unit::new().delete("7", 3));
    one_wins(&all_at_once(&*subject.store, units).await);
}

/// Of several units that expect an expired record to be absent, exactly one is committed. (G4)
pub async fn when_an_expired_record_is_written_at_once_by_several_exactly_one_commits(
    fixture: &dyn StoreFixture,
) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().put_until("7", None, "a", Some(at(10))))
        .await;
    let done = Some(InboxState::Done);
    let units = (0..16).map(|number| {
        Unit::new()
            .inbox(number.to_string(), None, done, at(20))
            .put("7", None, "b")
    });
    one_wins(&all_at_once(&*subject.store, units).await);
    assert_eq!(subject.version("7").await, Some(2));
}

/// Of several units that fire one timeout, exactly one is committed. (G6)
pub async fn when_one_timeout_is_fired_at_once_by_several_exactly_one_commits(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().add(timeout("t-1", at(0), at(60))))
        .await;
    let units = (0..16).map(|number| Unit::new().done(number.to_string()).fire("t-1", 1));
    one_wins(&all_at_once(&*subject.store, units).await);
    assert_eq!(subject.sizes().await.inbox, 1);
}

/// Of a unit that fires a timeout and one that moves it, exactly one is committed. (G6)
pub async fn when_a_timeout_is_fired_and_moved_at_once_exactly_one_commits(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    for fires_first in [true, false] {
        subject
            .commit(Unit::new().add(timeout("t-1", at(0), at(60))))
            .await;
        let mut units = [
            Unit::new().fire("t-1", 1),
            Unit::new().move_to("t-1", at(61), at(0)),
        ];
        if !fires_first {
            units.reverse();
        }
        one_wins(&all_at_once(&*subject.store, units.into_iter()).await);
    }
}

/// Units that were begun in order take effect in order: each sees the one before it. (G4)
pub async fn when_units_are_begun_in_order_they_take_effect_in_order(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let units = (0..100_u64).map(|version| {
        let expected = (version > 0).then_some(version);
        Unit::new()
            .put("7", expected, version.to_string())
            .add(message("r-1", at(version)))
    });
    for result in all_at_once(&*subject.store, units).await {
        result.unwrap_or_else(|error| {
            panic!("each unit expects what the one before it left: failed to {error}")
        });
    }
    assert_eq!(
        subject
            .record("7")
            .await
            .map(|record| (record.version, record.body)),
        Some((100, "99".into()))
    );
    assert_eq!(subject.present_row("r-1").await.attention, at(99));
}

/// A unit that fails leaves those around it alone, even those that build on what it would have left. (G4)
pub async fn when_a_unit_among_others_fails_only_it_fails(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().done("known").add(timeout("t-1", at(0), at(60))))
        .await;
    let units = [
        Unit::new().put("7", None, "a").add(message("r-1", at(1))),
        Unit::new()
            .done("known")
            .put("7", Some(1), "x")
            .add(message("r-1", at(2)))
            .move_to("t-1", at(9), at(9)),
        Unit::new()
            .put("7", Some(1), "b")
            .defer("r-1", at(3))
            .fire("t-1", 1),
        Unit::new().done("known").cancel("r-1"),
        Unit::new().put("7", Some(2), "c").park("r-1", "why"),
    ];
    let results = all_at_once(&*subject.store, units.into_iter()).await;
    let committed: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(committed, [true, false, true, false, true]);
    assert_eq!(subject.version("7").await, Some(3));
    let row = subject.present_row("r-1").await;
    assert_eq!((row.attention, row.parked.as_deref()), (at(3), Some("why")));
    assert_eq!(subject.row("t-1").await, None);
}

/// Many who change one record, each running again on fresh state after a conflict, lose no update. (G4)
pub async fn when_many_change_one_record_no_update_is_lost(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let count_up = |_| async {
        loop {
            let record = subject.record("7").await;
            let count = record.as_ref().map_or(0, |record| record.body.len());
            let unit = Unit::new().put("7", record.map(|record| record.version), vec![1; count + 1]);
            match subject.store.commit(unit.0).await {
                Ok(()) => return,
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Conflict, "failed to {error}"),
            }
        }
    };
    join_all((0..24).map(count_up)).await;
    let record = subject.record("7").await;
    assert_eq!(
        record.map(|record| (record.version, record.body.len())),
        Some((24, 24))
    );
}

/// What is renewed while it is purged stays, whichever comes first. (G4, G10)
pub async fn when_what_is_old_is_renewed_while_it_is_purged_the_renewed_stays(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let names: Vec<_> = (0..40).map(|number| number.to_string()).collect();
    let old = names.iter().fold(Unit::new(), |unit, name| {
        unit.done(name).put_until(name, None, "old", Some(at(1)))
    });
    subject.commit(old).await;
    let done = Some(InboxState::Done);
    let renew = |name: &String| {
        let name = name.clone();
        let subject = &subject;
        async move {
            // The purge may take either away first: then it is as if it had never been.
            for _ in 0..8 {
                let known = subject.inbox(&name).await;
                let unit = Unit::new()
                    .inbox(&name, known, done, at(20))
                    .put(&name, None, "new");
                match subject.store.commit(unit.0).await {
                    Ok(()) => return,
                    Err(error) => assert_eq!(error.kind(), StoreErrorKind::Conflict, "failed to {error}"),
                }
            }
            panic!("{name} was not renewed");
        }
    };
    let purge = async {
        for _ in 0..30 {
            subject.purge(at(10), at(10), 3).await;
        }
    };
    join(
        join_all(names.iter().take(20).map(renew)),
        join(purge, join_all(names.iter().skip(20).map(renew))),
    )
    .await;
    subject.purge(at(10), at(10), 1_000).await;
    for name in &names {
        assert_eq!(subject.inbox(name).await, done);
        assert_eq!(
            subject.record(name).await.map(|record| record.body),
            Some("new".into())
        );
    }
    let sizes = subject.sizes().await;
    assert_eq!((sizes.inbox, sizes.records), (40, 40));
}

async fn all_at_once(store: &dyn Store, units: impl Iterator<Item = Unit>) -> Vec<Result<(), StoreError>> {
    join_all(units.map(|unit| store.commit(unit.0))).await
}

fn one_wins(results: &[Result<(), StoreError>]) {
    let won = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(won, 1, "exactly one of {} is committed", results.len());
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(error.kind(), StoreErrorKind::Conflict, "failed to {error}");
    }
}
