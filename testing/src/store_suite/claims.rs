//! Which rows the relay is given, in what order, and for how long they are its own.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;

use super::fixture::StoreFixture;
use super::sample::{LEASE, Unit, at, endpoint, message, timeout};
use super::subject::{Subject, names};

/// Rows whose time has come are claimed, and no others. (G5, G6)
pub async fn when_a_row_is_due_it_is_claimed(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.commit(Unit::new().add(message("r-1", at(10)))).await;
    let just_before = at(10) - Duration::from_micros(1);
    assert_eq!(subject.claim(just_before).await, Vec::<String>::new());
    assert_eq!(subject.claim(at(10)).await, ["r-1"]);
}

/// The earliest comes first; at one time, the order is that of the ids. (G6)
pub async fn when_several_rows_are_due_the_earliest_comes_first(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let mut unit = Unit::new();
    for (name, attention) in [
        ("c", 2),
        ("a", 3),
        ("d", 1),
        ("b", 2),
        ("e", 9),
        ("A", 2),
        ("\u{e9}", 2),
    ] {
        unit = unit.add(message(name, at(attention)));
    }
    subject.commit(unit).await;
    subject
        .commit(Unit::new().add(timeout("before all", at(0), at(60))))
        .await;
    assert_eq!(
        subject.claim(at(3)).await,
        ["before all", "d", "A", "b", "c", "\u{e9}", "a"]
    );
}

/// A claimed row is not claimed again before the lease ends. (G5)
pub async fn when_a_row_is_claimed_nobody_else_gets_it_before_the_lease_ends(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.commit(Unit::new().add(message("r-1", at(0)))).await;
    assert_eq!(subject.claim(at(5)).await, ["r-1"]);
    assert_eq!(subject.claim(at(5)).await, Vec::<String>::new());
    let just_before = at(5) + LEASE - Duration::from_micros(1);
    assert_eq!(subject.claim(just_before).await, Vec::<String>::new());
    assert_eq!(subject.claim(at(5) + LEASE).await, ["r-1"]);
    assert_eq!(subject.claim(at(5) + LEASE).await, Vec::<String>::new());
}

/// Claimed rows don't stand in the way of others.
pub async fn when_the_first_rows_are_claimed_the_next_ones_follow(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let mut unit = Unit::new();
    for number in 0..25 {
        unit = unit.add(message(format!("r-{number:02}"), at(number)));
    }
    subject.commit(unit).await;
    let mut claimed = Vec::new();
    for _ in 0..4 {
        let more = subject.claim_for(at(19), LEASE, 6).await;
        claimed.extend(names(&more.rows));
    }
    let all: Vec<_> = (0..20).map(|number| format!("r-{number:02}")).collect();
    assert_eq!(claimed, all);
}

/// A limit of none claims none.
pub async fn when_nothing_is_wanted_nothing_is_claimed(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.commit(Unit::new().add(message("r-1", at(0)))).await;
    assert_eq!(subject.claim_for(at(0), LEASE, 0).await.rows, []);
    assert_eq!(subject.claim(at(0)).await, ["r-1"]);
}

/// The relay learns when to come again: never later than the next row wants it.
pub async fn when_rows_are_left_the_relay_learns_when_to_come_again(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    assert_eq!(subject.claim_for(at(0), LEASE, 10).await.next, None);
    subject
        .commit(
            Unit::new()
                .add(message("r-1", at(0)))
                .add(message("r-2", at(1)))
                .add(message("r-3", at(50))),
        )
        .await;
    let next = subject.claim_for(at(1), LEASE, 1).await.next;
    assert!(
        next.is_some_and(|next| next <= at(1)),
        "a due row is left: {next:?}"
    );
    assert_eq!(subject.claim_for(at(1), LEASE, 10).await.next, Some(at(50)));
    subject.commit(Unit::new().sent("r-1").sent("r-2")).await;
    assert_eq!(subject.claim_for(at(2), LEASE, 10).await.next, Some(at(50)));
    subject.commit(Unit::new().park("r-3", "why")).await;
    assert_eq!(subject.claim_for(at(2), LEASE, 10).await.next, None);
}

/// A change of a row ends the claim on it, so that a claim never holds up what the row wants next. (G6)
pub async fn when_a_claimed_row_changes_its_claim_ends(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let rows = ["added", "alarm", "deferred", "moved"];
    let unit = rows
        .iter()
        .fold(Unit::new(), |unit, name| unit.add(timeout(name, at(0), at(60))));
    subject.commit(unit).await;
    assert_eq!(
        subject
            .claim_for(at(0), Duration::from_secs(1_000_000), 10)
            .await
            .rows
            .len(),
        4
    );
    let changes = Unit::new()
        .add(timeout("added", at(1), at(60)))
        .alarm_sent("alarm", 1, at(2))
        .defer("deferred", at(3))
        .move_to("moved", at(60), at(4));
    subject.commit(changes).await;
    assert_eq!(subject.claim(at(4)).await, rows);
    subject
        .commit(Unit::new().alarm_sent("alarm", 7, at(5)).defer("missing", at(5)))
        .await;
    assert_eq!(subject.claim(at(5)).await, Vec::<String>::new());
}

/// Several who claim at once never get one row twice. (G5)
pub async fn when_several_claim_at_once_no_row_is_claimed_twice(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let unit = (0..60).fold(Unit::new(), |unit, number| {
        unit.add(message(format!("r-{number}"), at(0)))
    });
    subject.commit(unit).await;
    let claims = join_all((0..10).map(|_| subject.claim_for(at(0), LEASE, 7))).await;
    let claimed: Vec<_> = claims.iter().flat_map(|claimed| names(&claimed.rows)).collect();
    let different: BTreeSet<_> = claimed.iter().collect();
    assert_eq!((claimed.len(), different.len()), (60, 60));
}

/// A row that was just added is claimed as soon as its commit has returned. (G5)
pub async fn when_a_row_was_just_added_it_is_claimed_at_once(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    for number in 0..50 {
        let name = format!("r-{number}");
        subject.commit(Unit::new().add(message(&name, at(0)))).await;
        assert_eq!(subject.claim(at(0)).await, [name.as_str()]);
        subject.commit(Unit::new().sent(&name)).await;
        assert_eq!(subject.claim(at(1_000)).await, Vec::<String>::new());
    }
}

/// What one of two stores of an endpoint has claimed the other leaves alone. (G5)
pub async fn when_an_endpoint_is_opened_twice_each_leaves_the_claims_of_the_other_alone(
    fixture: &dyn StoreFixture,
) {
    let one = Subject::new(fixture).await;
    one.commit(Unit::new().add(message("r-1", at(0))).add(message("r-2", at(0))))
        .await;
    assert_eq!(names(&one.claim_for(at(0), LEASE, 1).await.rows), ["r-1"]);
    let other = Subject::of(std::sync::Arc::clone(&one.persistence), &endpoint("sales")).await;
    assert_eq!(other.claim(at(0)).await, ["r-2"]);
    other.commit(Unit::new().defer("r-1", at(1))).await;
    assert_eq!(one.claim(at(1)).await, ["r-1"]);
}

/// After a restart every row that is due is claimed anew or at the end of its lease: none is forgotten. (G5)
pub async fn when_the_endpoint_restarts_claimed_rows_are_claimed_again(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.commit(Unit::new().add(message("r-1", at(0)))).await;
    assert_eq!(subject.claim(at(0)).await, ["r-1"]);
    let subject = subject.restarted(fixture).await;
    assert_eq!(subject.claim(at(0) + LEASE).await, ["r-1"]);
}
