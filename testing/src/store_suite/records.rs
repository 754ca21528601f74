//! Versioned state.

use std::time::Duration;

use bytes::Bytes;
use longhaul_core::store::{InboxState, RecordKey};

use super::fixture::StoreFixture;
use super::sample::{Unit, at, id, key};
use super::subject::{Subject, asking};

/// Versions count 1, 2, 3 and so on, one for each change. (G4)
pub async fn when_a_record_changes_its_version_grows_by_one(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.commit(Unit::new().put("7", None, "a")).await;
    assert_eq!(subject.version("7").await, Some(1));
    for version in 1..20 {
        subject
            .commit(Unit::new().put("7", Some(version), format!("{version}")))
            .await;
        let record = subject
            .record("7")
            .await
            .unwrap_or_else(|| panic!("must be there"));
        assert_eq!(record.key, key("7"));
        assert_eq!(record.version, version + 1);
        assert_eq!(record.body, format!("{version}"));
        assert_eq!(record.expires, None);
    }
}

/// A unit that expects another version than the stored one conflicts, so that no update is lost. (G4)
pub async fn when_another_version_is_expected_the_unit_conflicts(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.conflicts(Unit::new().put("7", Some(1), "x")).await;
    subject.conflicts(Unit::new().put("7", Some(0), "x")).await;
    subject.commit(Unit::new().put("7", None, "a")).await;
    subject.commit(Unit::new().put("7", Some(1), "b")).await;
    for wrong in [None, Some(0), Some(1), Some(3), Some(u64::MAX)] {
        subject.conflicts(Unit::new().put("7", wrong, "x")).await;
    }
    let record = subject
        .record("7")
        .await
        .unwrap_or_else(|| panic!("must be there"));
    assert_eq!((record.version, &*record.body), (2, b"b".as_slice()));
}

/// A record that was removed is absent, and begins anew at version 1. (G4)
pub async fn when_a_record_is_deleted_it_is_absent(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.conflicts(Unit::new().delete("7", 1)).await;
    subject.commit(Unit::new().put("7", None, "a")).await;
    subject.commit(Unit::new().put("7", Some(1), "b")).await;
    subject.conflicts(Unit::new().delete("7", 1)).await;
    subject.conflicts(Unit::new().delete("7", 3)).await;
    subject.commit(Unit::new().delete("7", 2)).await;
    assert_eq!(subject.record("7").await, None);
    subject.conflicts(Unit::new().delete("7", 2)).await;
    subject.commit(Unit::new().put("7", None, "c")).await;
    assert_eq!(subject.version("7").await, Some(1));
}

/// A record counts as absent from the moment at which it expires on, and not before.
pub async fn when_a_record_has_expired_it_counts_as_absent(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().put_until("7", None, "a", Some(at(10))))
        .await;
    let just_before = at(10) - Duration::from_micros(1);
    let record = subject.record_at(key("7"), just_before).await;
    assert_eq!(record.and_then(|record| record.expires), Some(at(10)));
    assert_eq!(subject.record_at(key("7"), at(10)).await, None);
    assert_eq!(subject.record_at(key("7"), at(11)).await, None);
}

/// A unit that expects no record may write over an expired one; the version goes on, so that whoever still holds the
/// old one can't mistake the new for it. (G4)
pub async fn when_an_expired_record_is_written_anew_its_version_goes_on(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.commit(Unit::new().put("7", None, "a")).await;
    subject
        .commit(Unit::new().put_until("7", Some(1), "b", Some(at(10))))
        .await;
    let done = Some(InboxState::Done);
    let anew = |time| Unit::new().inbox("m-1", None, done, time).put("7", None, "c");
    subject.conflicts(anew(at(10) - Duration::from_micros(1))).await;
    subject.commit(anew(at(10))).await;
    let record = subject.record_at(key("7"), at(99)).await;
    let record = record.unwrap_or_else(|| panic!("must be there"));
    assert_eq!(
        (record.version, &*record.body, record.expires),
        (3, b"c".as_slice(), None)
    );
    subject.conflicts(Unit::new().put("7", Some(2), "d")).await;
    subject.commit(Unit::new().put("7", Some(3), "d")).await;
}

/// To a unit that carries no time nothing is expired, so expecting no record conflicts. (G4)
pub async fn when_a_unit_carries_no_time_nothing_is_expired_to_it(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().put_until("7", None, "a", Some(at(10))))
        .await;
    subject.conflicts(Unit::new().put("7", None, "b")).await;
    assert_eq!(subject.version("7").await, Some(1));
}

/// Whoever knows the version of a record may write and remove it although it has expired meanwhile. (G4)
pub async fn when_a_record_expires_while_it_is_worked_on_the_work_counts(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let done = Some(InboxState::Done);
    subject
        .commit(Unit::new().put_until("7", None, "a", Some(at(10))))
        .await;
    subject
        .commit(
            Unit::new()
                .inbox("m-1", None, done, at(11))
                .put_until("7", Some(1), "b", Some(at(12))),
        )
        .await;
    assert_eq!(subject.version("7").await, Some(2));
    subject
        .commit(Unit::new().inbox("m-2", None, done, at(13)).delete("7", 2))
        .await;
    assert_eq!(subject.record("7").await, None);
}

/// A change says anew when a record expires.
pub async fn when_a_record_is_written_its_expiry_is_replaced(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().put_until("7", None, "a", Some(at(10))))
        .await;
    subject
        .commit(Unit::new().put_until("7", Some(1), "b", Some(at(20))))
        .await;
    assert_eq!(
        subject
            .record_at(key("7"), at(15))
            .await
            .and_then(|record| record.expires),
        Some(at(20))
    );
    subject.commit(Unit::new().put("7", Some(2), "c")).await;
    assert_eq!(
        subject
            .record_at(key("7"), at(99))
            .await
            .map(|record| record.expires),
        Some(None)
    );
}

/// Records come in the order in which they were asked for, one entry each, whatever is missing or asked for twice.
pub async fn when_several_records_are_asked_for_they_come_in_that_order(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    for name in ["a", "b", "c"] {
        subject.commit(Unit::new().put(name, None, name)).await;
    }
    let mut request = asking(id("m-1"));
    request.records = ["c", "missing", "a", "c", "b"].map(key).to_vec();
    let loaded = subject.load(&request).await;
    let found: Vec<_> = loaded
        .records
        .iter()
        .map(|record| record.as_ref().map(|record| &*record.key.id))
        .collect();
    assert_eq!(found, [Some("c"), None, Some("a"), Some("c"), Some("b")]);
}

/// What handling one message needs is read at once: what is known of it, records and its row.
pub async fn when_a_message_is_loaded_everything_comes_together(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let row = super::sample::timeout("t-1", at(0), at(60));
    subject
        .commit(Unit::new().done("m-1").put("7", None, "a").add(row.clone()))
        .await;
    let mut request = asking(id("m-1"));
    request.records = vec![key("7")];
    request.pending = Some(id("t-1"));
    let loaded = subject.load(&request).await;
    assert_eq!(loaded.inbox, Some(InboxState::Done));
    assert_eq!(loaded.records.len(), 1);
    assert_eq!(loaded.records[0].as_ref().map(|record| record.version), Some(1));
    assert_eq!(loaded.pending, Some(row));
}

/// A body may be empty, may be large, and may hold any bytes.
pub async fn when_a_body_is_empty_or_large_it_reads_back_as_it_was(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    for length in [0, 1, 255, 256, 4_095, 4_096, 4_097, 8_192, 65_535, 65_536] {
        let bytes: Vec<u8> = (0..=u8::MAX).rev().cycle().take(length).collect();
        let body = Bytes::from(bytes);
        let name = length.to_string();
        subject.commit(Unit::new().put(&name, None, body.clone())).await;
        let record = subject.record(&name).await;
        assert_eq!(record.map(|record| record.body), Some(body), "{length} bytes");
    }
    subject.commit(Unit::new().put("65536", Some(1), "")).await;
    assert_eq!(
        subject.record("65536").await.map(|record| record.body),
        Some(Bytes::new())
    );
}

/// One unit may change many records, and one record twice; each change counts.
pub async fn when_one_unit_changes_several_records_all_are_changed(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().put("a", None, "1").put("b", None, "1"))
        .await;
    subject
        .commit(
            Unit::new()
                .put("a", Some(1), "2")
                .delete("b", 1)
                .put("c", None, "1")
                .put("c", Some(1), "2"),
        )
        .await;
    assert_eq!(subject.version("a").await, Some(2));
    assert_eq!(subject.version("b").await, None);
    assert_eq!(subject.version("c").await, Some(2));
    subject
        .commit(Unit::new().delete("a", 2).put("a", None, "3"))
        .await;
    assert_eq!(subject.version("a").await, Some(1));
    subject
        .conflicts(Unit::new().put("a", Some(1), "4").put("a", Some(1), "5"))
        .await;
    let collection = RecordKey::new("order", "a").collection;
    assert_eq!(subject.listed_records(&collection).await.len(), 2);
}
