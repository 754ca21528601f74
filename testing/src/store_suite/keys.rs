//! Names of records, messages and rows: which are taken, and that none is mistaken for another.

use longhaul_core::ids::MessageId;
use longhaul_core::store::{PendingChange, RecordChange, RecordKey, StoreErrorKind};

use super::fixture::StoreFixture;
use super::sample::{Unit, at, id, message, timeout};
use super::subject::{Subject, asking};

/// A key over the limits of [`RecordKey`] is refused wherever it stands, and nothing of the unit is committed.
pub async fn when_a_key_is_over_the_limits_it_is_refused(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let long = [
        RecordKey::new("c".repeat(RecordKey::MAX_COLLECTION_BYTES + 1), "id"),
        RecordKey::new("c", "i".repeat(RecordKey::MAX_ID_BYTES + 1)),
        // Limits count bytes, not characters.
        RecordKey::new("c", "\u{65e5}".repeat(RecordKey::MAX_ID_BYTES / 3 + 1)),
    ];
    for key in long {
        let put = put(key.clone(), None);
        let delete = RecordChange::Delete {
            key: key.clone(),
            expected: 1,
        };
        let mut owned = timeout("t-1", at(0), at(1));
        owned.owner = Some(key.clone());
        let refused = StoreErrorKind::Refused;
        subject
            .refuses(refused, Unit::new().done("m-1").record(put))
            .await;
        subject
            .refuses(refused, Unit::new().done("m-1").record(delete))
            .await;
        subject.refuses(refused, Unit::new().done("m-1").add(owned)).await;
        let mut request = asking(id("m-1"));
        request.records.push(key);
        match subject.store.load(&request).await {
            Ok(_) => panic!("loading must be refused too"),
            Err(error) => assert_eq!(error.kind(), refused),
        }
    }
    assert_eq!(subject.inbox("m-1").await, None);
}

/// Keys and ids may be as long as their limits allow.
pub async fn when_keys_are_as_long_as_they_may_be_they_are_stored(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let key = RecordKey::new(
        "c".repeat(RecordKey::MAX_COLLECTION_BYTES),
        "i".repeat(RecordKey::MAX_ID_BYTES),
    );
    let name = "m".repeat(MessageId::MAX_BYTES);
    let mut row = timeout(&name, at(0), at(1));
    row.owner = Some(key.clone());
    subject
        .commit(
            Unit::new()
                .done(&name)
                .record(put(key.clone(), None))
                .add(row.clone()),
        )
        .await;
    assert!(subject.inbox(&name).await.is_some());
    assert_eq!(
        subject
            .record_at(key.clone(), at(0))
            .await
            .map(|record| record.key),
        Some(key)
    );
    assert_eq!(subject.row(&name).await, Some(row));
}

/// Ids hold any text, and are compared byte by byte: no letter case, no Unicode form, no trimming.
pub async fn when_ids_hold_any_text_none_is_mistaken_for_another(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    for text in texts() {
        let mut row = message(&text, at(0));
        row.name.clone_from(&text);
        subject
            .commit(Unit::new().done(&text).put(&text, None, text.clone()).add(row))
            .await;
    }
    for text in texts() {
        assert!(subject.inbox(&text).await.is_some(), "{text:?}");
        assert_eq!(
            subject.record(&text).await.map(|record| record.body),
            Some(text.clone().into())
        );
        assert_eq!(subject.row(&text).await.map(|row| row.name), Some(text));
    }
    assert_eq!(subject.sizes().await.records, texts().len() as u64);
}

/// Ids of records may be empty or hold control characters, which message ids may not.
pub async fn when_record_ids_hold_control_characters_they_are_stored(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let odd = [
        "",
        "\0",
        "\0\0",
        "a\0",
        "a\0b",
        "\n",
        "\r\n",
        "\u{1b}[31m",
        "\u{7f}",
        "a",
        "ab",
        "a\u{10ffff}",
    ];
    for name in odd {
        subject.commit(Unit::new().put(name, None, name)).await;
    }
    for name in odd {
        assert_eq!(
            subject.record(name).await.map(|record| record.body),
            Some(name.into()),
            "{name:?}"
        );
    }
    let mut sorted = odd.to_vec();
    sorted.sort_unstable();
    let listed = subject.listed_records("order").await;
    assert_eq!(
        listed.iter().map(|record| &*record.key.id).collect::<Vec<_>>(),
        sorted
    );
}

/// Where a collection ends and an id begins is never mistaken.
pub async fn when_collection_and_id_are_cut_differently_they_are_different(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let cuts = [
        ("ab", "c"),
        ("a", "bc"),
        ("", "abc"),
        ("abc", ""),
        ("a/b", "c"),
        ("a", "b/c"),
        ("a\0", "b"),
        ("a", "\0b"),
    ];
    for (collection, id) in cuts {
        let key = RecordKey::new(collection, id);
        subject.commit(Unit::new().record(put(key, None))).await;
    }
    for (collection, id) in cuts {
        let key = RecordKey::new(collection, id);
        let record = subject.record_at(key.clone(), at(0)).await;
        assert_eq!(record.map(|record| (record.key, record.version)), Some((key, 1)));
        let listed = subject.listed_records(collection).await;
        let expected: Vec<_> = cuts
            .iter()
            .filter(|cut| cut.0 == collection)
            .map(|cut| cut.1)
            .collect();
        assert_eq!(listed.len(), expected.len(), "{collection:?}");
        assert!(
            listed.iter().all(|record| expected.contains(&&*record.key.id)),
            "{collection:?}"
        );
    }
}

/// A message, a record and a row may have one name, and have nothing to do with each other.
pub async fn when_a_message_a_record_and_a_row_share_a_name_they_are_apart(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().done("x").put("x", None, "a").add(message("x", at(0))))
        .await;
    subject.commit(Unit::new().delete("x", 1)).await;
    assert!(subject.inbox("x").await.is_some());
    assert!(subject.row("x").await.is_some());
    subject
        .commit(Unit::new().pending(PendingChange::Cancel(id("x"))))
        .await;
    assert!(subject.inbox("x").await.is_some());
}

fn put(key: RecordKey, expected: Option<u64>) -> RecordChange {
    RecordChange::Put {
        key,
        expected,
        body: "a".into(),
        expires: None,
    }
}

/// Texts that are easily mistaken for one another, all of them good message ids.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "a",
        "A",
        "a ",
        " a",
        "a.b",
        "a/b",
        "a\\b",
        "a:b",
        "a%2Fb",
        "../a",
        "a'b",
        "a\"b",
        "';DROP TABLE x",
        "a*",
        "a_",
        "\u{e9}",
        "e\u{301}",
        "\u{df}",
        "ss",
        "\u{130}",
        "i",
        "\u{202e}abc",
        "\u{1f69a}",
        "\u{feff}a",
        "\u{ffff}",
        "\u{10ffff}",
        "\u{10fffe}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{800}",
        "\u{7ff}",
        "1",
        "01",
        "null",
        "\u{a0}",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("x".repeat(MessageId::MAX_BYTES));
    texts.push(format!("{}y", "x".repeat(MessageId::MAX_BYTES - 1)));
    texts
}
