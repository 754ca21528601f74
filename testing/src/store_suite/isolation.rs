//! Several endpoints in one database.

use longhaul_core::address::Address;
use longhaul_core::store::Sizes;

use super::fixture::StoreFixture;
use super::sample::{Unit, at, endpoint, timeout};
use super::subject::Subject;

/// Endpoints see nothing of one another, however alike their names are.
pub async fn when_endpoints_share_a_database_none_sees_another(fixture: &dyn StoreFixture) {
    let subjects = subjects(fixture).await;
    for (number, subject) in subjects.iter().enumerate() {
        assert_eq!(subject.sizes().await, Sizes::default(), "{}", NAMES[number]);
        assert_eq!(subject.inbox("m-1").await, None);
        let body = number.to_string();
        subject
            .commit(
                Unit::new()
                    .done("m-1")
                    .put("7", None, body)
                    .add(timeout("t-1", at(0), at(60))),
            )
            .await;
    }
    for (number, subject) in subjects.iter().enumerate() {
        assert_eq!(
            subject.record("7").await.map(|record| record.body),
            Some(number.to_string().into())
        );
        assert_eq!(subject.listed_records("order").await.len(), 1);
        assert_eq!(subject.listed().await.len(), 1);
        assert_eq!(subject.claim(at(0)).await, ["t-1"]);
        let sizes = subject.sizes().await;
        assert_eq!(
            (sizes.inbox, sizes.records, sizes.timeouts),
            (1, 1, 1),
            "{}",
            NAMES[number]
        );
    }
}

/// "Whether something is stored, found out without creating anything": asked again and again, and for names alike, it stays so until
/// the endpoint is opened. A store that can't tell says that.
pub async fn when_it_is_asked_whether_an_endpoint_is_there_none_is_made(fixture: &dyn StoreFixture) {
    let persistence = fixture.create().await;
    let has = async |name: &str| match persistence.has(&endpoint(name)).await {
        Ok(has) => has,
        Err(error) => panic!("failed to {error}"),
    };
    for _ in 0..2 {
        assert_ne!(has("sales").await, Some(true));
    }
    if let Err(error) = persistence.open(&endpoint("sales")).await {
        panic!("failed to {error}");
    }
    assert_ne!(has("sales").await, Some(false));
    for alike in ["sale", "sales2", "Sales"] {
        assert_ne!(has(alike).await, Some(true), "{alike}");
    }
}

/// What one endpoint removes, purges or fires stays with all others.
pub async fn when_one_endpoint_cleans_up_the_others_keep_theirs(fixture: &dyn StoreFixture) {
    let subjects = subjects(fixture).await;
    for subject in &subjects {
        let unit = Unit::new()
            .done("m-1")
            .put_until("7", None, "a", Some(at(10)))
            .put("8", None, "a");
        subject.commit(unit.add(timeout("t-1", at(0), at(60)))).await;
    }
    for (number, subject) in subjects.iter().enumerate() {
        assert_eq!(subject.purge(at(99), at(99), 100).await, 2, "{}", NAMES[number]);
        subject.commit(Unit::new().fire("t-1", 1).delete("8", 1)).await;
        assert_eq!(subject.sizes().await, Sizes::default());
        for (other, subject) in subjects.iter().enumerate().skip(number + 1) {
            let sizes = subject.sizes().await;
            assert_eq!(
                (sizes.inbox, sizes.records, sizes.timeouts),
                (1, 2, 1),
                "{}",
                NAMES[other]
            );
        }
    }
}

/// Two stores opened for one endpoint show one and the same state.
pub async fn when_an_endpoint_is_opened_twice_both_see_the_same(fixture: &dyn StoreFixture) {
    let one = Subject::new(fixture).await;
    let other = Subject::of(std::sync::Arc::clone(&one.persistence), &endpoint("sales")).await;
    one.commit(
        Unit::new()
            .done("m-1")
            .put("7", None, "a")
            .add(timeout("t-1", at(0), at(60))),
    )
    .await;
    other.conflicts(Unit::new().done("m-1")).await;
    other
        .commit(Unit::new().put("7", Some(1), "b").move_to("t-1", at(70), at(5)))
        .await;
    assert_eq!(one.version("7").await, Some(2));
    assert_eq!(one.present_row("t-1").await.token, 2);
    one.commit(Unit::new().fire("t-1", 2)).await;
    assert_eq!(other.row("t-1").await, None);
    assert_eq!(other.sizes().await, one.sizes().await);
}

/// Names that begin alike, hold what often separates names, or are as long as can be.
const NAMES: [&str; 16] = [
    "sales",
    "sale",
    "sales.",
    "sales.eu",
    "sales/eu",
    "sales\\eu",
    "sales eu",
    "Sales",
    "s",
    "..",
    "sales:order:7",
    "\u{65e5}\u{672c}.\u{6ce8}\u{6587}",
    "\u{e9}",
    "e\u{301}",
    "%",
    "_",
];

async fn subjects(fixture: &dyn StoreFixture) -> Vec<Subject> {
    let persistence = fixture.create().await;
    let longest = "x".repeat(Address::MAX_BYTES);
    let mut subjects = Vec::new();
    for name in NAMES {
        subjects.push(Subject::of(std::sync::Arc::clone(&persistence), &endpoint(name)).await);
    }
    // As long as can be: its rows and records count as nobody else's.
    let longest = Subject::of(persistence, &endpoint(longest)).await;
    longest
        .commit(
            Unit::new()
                .done("m-1")
                .put("x".repeat(512), None, "a")
                .add(timeout("t-1", at(0), at(9))),
        )
        .await;
    subjects
}
