//! Listings, clean-up and counts.

use std::time::Duration;

use longhaul_core::store::{InboxState, RecordChange, RecordKey, Sizes};

use super::fixture::StoreFixture;
use super::sample::{Unit, at, message, timeout};
use super::subject::{Subject, names};

/// Records are listed by id, page by page, each exactly once.
pub async fn when_records_are_listed_in_pages_each_comes_once(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let mut expected: Vec<String> = (0..23).map(|number| format!("{number}")).collect();
    expected.extend(["", "2\0", "\u{1f69a}"].map(str::to_owned));
    for name in &expected {
        subject.commit(Unit::new().put(name, None, name.clone())).await;
    }
    expected.sort_unstable();
    for limit in [1, 5, 26, 100] {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let after = listed.last().map(String::as_str);
            let page = subject.store.admin().records("order", after, limit).await;
            let page = page.unwrap_or_else(|error| panic!("failed to {error}"));
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            assert!(
                page.iter()
                    .all(|record| record.version == 1 && *record.body == *record.key.id.as_bytes())
            );
            listed.extend(page.iter().map(|record| record.key.id.to_string()));
        }
        assert_eq!(listed, expected, "in pages of {limit}");
    }
    let page = subject
        .store
        .admin()
        .records("order", Some("21 is not there"), 2)
        .await;
    let page = page.unwrap_or_else(|error| panic!("failed to {error}"));
    assert_eq!(
        page.iter().map(|record| &*record.key.id).collect::<Vec<_>>(),
        ["22", "3"]
    );
}

/// Collections are listed apart, also where one's name begins with another's.
pub async fn when_a_collection_is_listed_no_other_comes_along(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    for collection in ["a", "ab", "", "a\0", "b", "A"] {
        for id in ["1", "2"] {
            let put = RecordChange::Put {
                key: RecordKey::new(collection, id),
                expected: None,
                body: "x".into(),
                expires: None,
            };
            subject.commit(Unit::new().record(put)).await;
        }
    }
    for collection in ["a", "ab", "", "a\0", "b", "A"] {
        let listed = subject.listed_records(collection).await;
        assert_eq!(listed.len(), 2, "{collection:?}");
        assert!(listed.iter().all(|record| &*record.key.collection == collection));
    }
    assert_eq!(subject.listed_records("nothing").await, []);
    assert_eq!(subject.listed_records(&"x".repeat(1_000)).await, []);
}

/// Expired records are listed until they are purged.
pub async fn when_a_record_has_expired_it_is_listed_until_purged(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().put_until("7", None, "a", Some(at(0))))
        .await;
    assert_eq!(subject.listed_records("order").await.len(), 1);
    assert_eq!(subject.purge(at(0), at(1), 10).await, 1);
    assert_eq!(subject.listed_records("order").await, []);
}

/// However large expired records are, all of them are purged.
pub async fn when_large_records_have_expired_all_of_them_are_purged(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let body = bytes::Bytes::from(vec![b'x'; 500_000]);
    for number in 0..40 {
        let unit = Unit::new().put_until(number.to_string(), None, body.clone(), Some(at(number)));
        subject.commit(unit).await;
    }
    assert_eq!(subject.purge(at(0), at(100), 100).await, 40);
    assert_eq!(subject.listed_records("order").await, []);
}

/// Rows are listed by the time they want attention and then by id, parked ones last, page by page, each once.
pub async fn when_rows_are_listed_in_pages_each_comes_once(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let mut unit = Unit::new();
    for number in 0..20_u64 {
        unit = unit.add(message(format!("r-{number:02}"), at(100 - number / 3)));
    }
    for number in [4, 11, 3] {
        unit = unit.park(format!("r-{number:02}"), "why");
    }
    subject.commit(unit).await;
    let mut expected: Vec<_> = (0..20_u64)
        .map(|number| {
            (
                [3, 4, 11].contains(&number),
                100 - number / 3,
                format!("r-{number:02}"),
            )
        })
        .collect();
    expected.sort();
    let expected: Vec<_> = expected.into_iter().map(|(_, _, name)| name).collect();
    for limit in [1, 3, 20, 50] {
        let mut listed = Vec::new();
        loop {
            let page = subject.store.admin().pending(listed.last(), limit).await;
            let page = page.unwrap_or_else(|error| panic!("failed to {error}"));
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        assert_eq!(names(&listed), expected, "in pages of {limit}");
    }
}

/// A listing goes on behind a row that has gone meanwhile, and claims don't hide rows from it.
pub async fn when_the_last_row_of_a_page_has_gone_the_listing_goes_on(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let rows = ["a", "b", "c"];
    subject
        .commit(
            rows.iter()
                .fold(Unit::new(), |unit, name| unit.add(message(name, at(0)))),
        )
        .await;
    assert_eq!(subject.claim(at(0)).await, rows);
    let listed = subject.listed().await;
    assert_eq!(names(&listed), rows);
    subject.commit(Unit::new().sent("b")).await;
    let page = subject.store.admin().pending(Some(&listed[1]), 10).await;
    assert_eq!(
        names(&page.unwrap_or_else(|error| panic!("failed to {error}"))),
        ["c"]
    );
}

/// Purging forgets messages that are done and were last changed before a time; every other state stays. (G10)
pub async fn when_the_inbox_is_purged_only_old_done_messages_go(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let (generation, attempts, since) = (1, 1, at(0));
    let others = [
        (
            "scheduled",
            InboxState::Scheduled {
                generation,
                attempts,
                since,
            },
        ),
        (
            "started",
            InboxState::Started {
                generation,
                attempts,
                times: 1,
                since,
            },
        ),
        ("failed", InboxState::Failed { attempts }),
    ];
    for (name, state) in others {
        subject
            .commit(Unit::new().inbox(name, None, Some(state), at(0)))
            .await;
    }
    let done = Some(InboxState::Done);
    subject
        .commit(Unit::new().inbox("old", None, done, at(10) - Duration::from_micros(1)))
        .await;
    subject
        .commit(Unit::new().inbox("young", None, done, at(10)))
        .await;
    subject
        .commit(Unit::new().inbox("handled again", None, done, at(1)))
        .await;
    subject
        .commit(Unit::new().inbox("handled again", done, done, at(20)))
        .await;
    subject
        .commit(Unit::new().inbox("replayed", None, done, at(1)))
        .await;
    subject
        .commit(Unit::new().inbox("replayed", done, Some(others[0].1), at(1)))
        .await;

    assert_eq!(subject.purge(at(10), at(0), 100).await, 1);
    assert_eq!(subject.purge(at(10), at(0), 100).await, 0);
    assert_eq!(subject.inbox("old").await, None);
    assert_eq!(subject.sizes().await.inbox, 6);
    assert_eq!(subject.purge(at(99), at(0), 100).await, 2);
    for (name, state) in others {
        assert_eq!(subject.inbox(name).await, Some(state));
    }
    assert_eq!(subject.inbox("replayed").await, Some(others[0].1));
    subject.commit(Unit::new().done("old")).await;
}

/// Purging removes records that have expired, and no others; a record that comes back begins at version 1.
pub async fn when_records_are_purged_only_expired_ones_go(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(
            Unit::new()
                .put("kept", None, "a")
                .put_until("later", None, "a", Some(at(11))),
        )
        .await;
    subject
        .commit(Unit::new().put_until("gone", None, "a", Some(at(9))))
        .await;
    subject
        .commit(Unit::new().put_until("gone", Some(1), "a", Some(at(9))))
        .await;
    subject
        .commit(Unit::new().put_until("prolonged", None, "a", Some(at(9))))
        .await;
    subject.commit(Unit::new().put("prolonged", Some(1), "a")).await;
    assert_eq!(subject.purge(at(99), at(10), 100).await, 1);
    assert_eq!(subject.purge(at(99), at(10), 100).await, 0);
    assert_eq!(subject.listed_records("order").await.len(), 3);
    subject.commit(Unit::new().put("gone", None, "b")).await;
    assert_eq!(subject.version("gone").await, Some(1));
    assert_eq!(subject.version("prolonged").await, Some(2));
}

/// Purging goes in steps: at most so many of each kind at a time.
pub async fn when_a_purge_is_limited_it_goes_in_steps(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let unit = (0..10).fold(Unit::new(), |unit, number| {
        let name = number.to_string();
        unit.done(&name).put_until(&name, None, "a", Some(at(0)))
    });
    subject.commit(unit).await;
    assert_eq!(subject.purge(at(1), at(1), 0).await, 0);
    let mut steps = Vec::new();
    for left in [6, 2, 0, 0] {
        steps.push(subject.purge(at(1), at(1), 4).await);
        let sizes = subject.sizes().await;
        assert_eq!((sizes.inbox, sizes.records), (left, left));
    }
    assert_eq!(steps, [8, 8, 4, 0]);
}

/// The counts follow every kind of change.
pub async fn when_things_come_and_go_the_counts_follow(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    assert_eq!(subject.sizes().await, Sizes::default());
    let unit = Unit::new()
        .done("m-1")
        .inbox("m-2", None, Some(InboxState::Failed { attempts: 1 }), at(0));
    let unit = unit
        .put("a", None, "a")
        .put("b", None, "a")
        .put_until("c", None, "a", Some(at(0)));
    let rows = ["r-1", "r-2", "r-3"];
    let unit = rows
        .iter()
        .fold(unit, |unit, name| unit.add(message(name, at(0))));
    subject
        .commit(
            unit.add(timeout("t-1", at(0), at(9)))
                .add(timeout("t-2", at(0), at(9))),
        )
        .await;
    let sizes = |inbox, records, unsent, timeouts, parked| Sizes {
        inbox,
        records,
        unsent,
        timeouts,
        parked,
    };
    assert_eq!(subject.sizes().await, sizes(2, 3, 3, 2, 0));
    subject
        .commit(
            Unit::new()
                .put("a", Some(1), "b")
                .delete("b", 1)
                .sent("r-1")
                .park("r-2", "why")
                .cancel("t-1"),
        )
        .await;
    assert_eq!(subject.sizes().await, sizes(2, 2, 1, 1, 1));
    subject
        .commit(
            Unit::new()
                .cancel("r-2")
                .cancel("r-2")
                .park("t-2", "why")
                .add(message("r-3", at(5))),
        )
        .await;
    assert_eq!(subject.sizes().await, sizes(2, 2, 1, 0, 1));
    subject
        .conflicts(
            Unit::new()
                .done("m-1")
                .put("x", None, "a")
                .add(message("x", at(0))),
        )
        .await;
    subject
        .commit(
            Unit::new()
                .inbox("m-1", Some(InboxState::Done), None, at(1))
                .put("c", Some(1), "b"),
        )
        .await;
    assert_eq!(subject.sizes().await, sizes(1, 2, 1, 0, 1));
}
