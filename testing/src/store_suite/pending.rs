//! Messages to be sent and timeouts to fire: what becomes of a row.

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Native;
use longhaul_core::store::{PendingRow, RecordKey};
use longhaul_core::transport::Destination;

use super::fixture::StoreFixture;
use super::sample::{Unit, address, at, message, timeout};
use super::subject::{Subject, names};

/// A row keeps every part of it, whichever way it is read. (G3, G5, G6)
pub async fn when_a_row_is_added_it_reads_back_as_it_was(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    for row in rows() {
        subject.commit(Unit::new().add(row.clone())).await;
        assert_eq!(subject.row(row.id.as_str()).await, Some(row.clone()));
    }
    let listed = subject.listed().await;
    assert_eq!(listed.len(), rows().len());
    for row in rows() {
        assert!(listed.contains(&row), "{row:?}");
    }
    let claimed = subject
        .claim_for(Timestamp::MAX, super::sample::LEASE, 1_000)
        .await
        .rows;
    for row in rows().into_iter().filter(|row| row.parked.is_none()) {
        assert!(claimed.contains(&row), "{row:?}");
    }
}

/// What a transport kept of a message for itself is not stored.
pub async fn when_a_row_carries_the_transports_own_properties_they_are_left_out(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let mut row = message("r-1", at(0));
    row.envelope.native = Some(Native::new("a delivery tag"));
    subject.commit(Unit::new().add(row)).await;
    assert!(subject.present_row("r-1").await.envelope.native.is_none());
}

/// A row is replaced by one of the same id: nothing of the old one is left, least of all its place. (G6)
pub async fn when_a_row_with_the_same_id_is_added_it_takes_the_place_of_the_other(
    fixture: &dyn StoreFixture,
) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().add(timeout("r-1", at(0), at(5))).park("r-1", "why"))
        .await;
    let row = message("r-1", at(10));
    subject.commit(Unit::new().add(row.clone())).await;
    assert_eq!(subject.listed().await, [row]);
    assert_eq!(subject.claim(at(9)).await, Vec::<String>::new());
    assert_eq!(subject.claim(at(10)).await, ["r-1"]);
    let sizes = subject.sizes().await;
    assert_eq!((sizes.unsent, sizes.timeouts, sizes.parked), (1, 0, 0));
}

/// A message that the broker has is no longer to be sent; that it was marked before is fine. (G3)
pub async fn when_a_message_was_sent_its_row_goes(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().add(message("r-1", at(0))).add(message("r-2", at(0))))
        .await;
    subject.commit(Unit::new().sent("r-1").sent("missing")).await;
    subject.commit(Unit::new().sent("r-1")).await;
    assert_eq!(names(&subject.listed().await), ["r-2"]);
    assert_eq!(subject.claim(at(0)).await, ["r-2"]);
}

/// A cancelled timeout is gone; that there is none is fine. (G6)
pub async fn when_a_timeout_is_cancelled_its_row_goes(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().add(timeout("t-1", at(0), at(5))))
        .await;
    subject.commit(Unit::new().cancel("t-1").cancel("missing")).await;
    subject.commit(Unit::new().cancel("t-1")).await;
    assert_eq!(subject.row("t-1").await, None);
    assert_eq!(subject.claim(at(99)).await, Vec::<String>::new());
}

/// Once the broker holds the alarm the row stays, and is looked at again when it should have fired. (G6)
pub async fn when_an_alarm_was_sent_the_row_waits(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let row = timeout("t-1", at(0), at(60));
    subject.commit(Unit::new().add(row.clone())).await;
    subject
        .commit(
            Unit::new()
                .alarm_sent("t-1", 1, at(65))
                .alarm_sent("missing", 1, at(65)),
        )
        .await;
    let waiting = PendingRow {
        attention: at(65),
        alarm_sent: true,
        ..row
    };
    assert_eq!(subject.row("t-1").await, Some(waiting.clone()));
    assert_eq!(subject.listed().await, [waiting]);
    assert_eq!(subject.claim(at(64)).await, Vec::<String>::new());
    assert_eq!(subject.claim(at(65)).await, ["t-1"]);
}

/// That the alarm of an earlier token was sent changes nothing. (G6)
pub async fn when_a_stale_alarm_was_sent_the_row_does_not_change(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let row = timeout("t-1", at(0), at(60));
    subject.commit(Unit::new().add(row.clone())).await;
    for stale in [0, 2, u64::MAX] {
        subject.commit(Unit::new().alarm_sent("t-1", stale, at(65))).await;
        assert_eq!(subject.row("t-1").await, Some(row.clone()));
    }
    assert_eq!(subject.claim(at(0)).await, ["t-1"]);
}

/// A row can be put off whatever became of it; that there is none is fine.
pub async fn when_a_row_is_deferred_it_wants_attention_later(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let row = timeout("t-1", at(0), at(60));
    subject.commit(Unit::new().add(row.clone())).await;
    subject
        .commit(Unit::new().defer("t-1", at(30)).defer("missing", at(30)))
        .await;
    let deferred = PendingRow {
        attention: at(30),
        ..row
    };
    assert_eq!(subject.row("t-1").await, Some(deferred));
    assert_eq!(subject.claim(at(29)).await, Vec::<String>::new());
    subject.commit(Unit::new().defer("t-1", at(10))).await;
    assert_eq!(subject.claim(at(10)).await, ["t-1"]);
    subject
        .commit(Unit::new().alarm_sent("t-1", 1, at(40)).defer("t-1", at(50)))
        .await;
    assert!(subject.present_row("t-1").await.alarm_sent);
}

/// A timeout fires once, and only for the token that it has. (G6, G12)
pub async fn when_a_timeout_fires_its_row_goes_once(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.conflicts(Unit::new().done("m-1").fire("t-1", 1)).await;
    subject
        .commit(Unit::new().add(timeout("t-1", at(0), at(60))))
        .await;
    for wrong in [0, 2, u64::MAX] {
        subject
            .conflicts(Unit::new().done("m-1").fire("t-1", wrong))
            .await;
    }
    assert!(subject.row("t-1").await.is_some());
    subject.commit(Unit::new().done("m-1").fire("t-1", 1)).await;
    assert_eq!(subject.row("t-1").await, None);
    subject.conflicts(Unit::new().done("m-2").fire("t-1", 1)).await;
}

/// A timeout that is moved is due at another time, and needs another alarm: the old one is stale. (G6)
pub async fn when_a_timeout_is_moved_its_old_alarm_is_stale(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let row = timeout("t-1", at(0), at(60));
    subject
        .commit(Unit::new().add(row.clone()).alarm_sent("t-1", 1, at(65)))
        .await;
    subject.commit(Unit::new().move_to("t-1", at(600), at(3))).await;
    let moved = PendingRow {
        due: Some(at(600)),
        attention: at(3),
        token: 2,
        alarm_sent: false,
        ..row
    };
    assert_eq!(subject.row("t-1").await, Some(moved.clone()));
    assert_eq!(subject.listed().await, [moved]);
    assert_eq!(subject.claim(at(3)).await, ["t-1"]);
    subject.conflicts(Unit::new().fire("t-1", 1)).await;
    subject.commit(Unit::new().alarm_sent("t-1", 1, at(65))).await;
    assert!(!subject.present_row("t-1").await.alarm_sent);
    subject.commit(Unit::new().fire("t-1", 2)).await;
}

/// A timeout that is gone can't be moved: it has fired, or was cancelled. (G6)
pub async fn when_a_timeout_is_gone_moving_it_conflicts(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.conflicts(Unit::new().move_to("t-1", at(60), at(0))).await;
    subject
        .commit(Unit::new().add(timeout("t-1", at(0), at(60))))
        .await;
    subject.commit(Unit::new().cancel("t-1")).await;
    subject.conflicts(Unit::new().move_to("t-1", at(60), at(0))).await;
}

/// What was meant for a row before it was moved does not reach it any more: it would hide the new time. (G6)
pub async fn when_a_row_was_moved_what_was_meant_for_it_before_changes_nothing(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().add(timeout("t-1", at(0), at(60))))
        .await;
    let token = subject.present_row("t-1").await.token;
    let unit = Unit::new()
        .move_to("t-1", at(9), at(4))
        .defer_if("t-1", token, at(50))
        .park_if("t-1", token, "why");
    subject.commit(unit).await;
    let moved = subject.present_row("t-1").await;
    assert_eq!((moved.attention, moved.parked.as_deref()), (at(4), None));
    subject
        .commit(
            Unit::new()
                .defer_if("t-1", token, at(50))
                .park_if("t-1", token, "why"),
        )
        .await;
    assert_eq!(subject.present_row("t-1").await, moved);
    let unit = Unit::new()
        .defer_if("t-1", token + 1, at(7))
        .defer_if("missing", token, at(7))
        .park_if("missing", token, "why");
    subject.commit(unit).await;
    assert_eq!(subject.present_row("t-1").await.attention, at(7));
    subject.commit(Unit::new().park_if("t-1", token + 1, "why")).await;
    assert_eq!(subject.present_row("t-1").await.parked.as_deref(), Some("why"));
}

/// A parked row is never claimed, stands last in the listing with its reason, and counts as parked. (G7)
pub async fn when_a_row_is_parked_it_is_set_aside_for_people(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let first = message("r-1", at(0));
    let unit = Unit::new()
        .add(first.clone())
        .add(timeout("r-2", at(1), at(9)))
        .park("missing", "why");
    subject.commit(unit).await;
    subject
        .commit(Unit::new().park("r-1", "no route to \u{1f69a}"))
        .await;
    let parked = PendingRow {
        parked: Some("no route to \u{1f69a}".to_owned()),
        ..first
    };
    assert_eq!(subject.row("r-1").await, Some(parked));
    assert_eq!(subject.claim(at(99)).await, ["r-2"]);
    assert_eq!(names(&subject.listed().await), ["r-2", "r-1"]);
    let sizes = subject.sizes().await;
    assert_eq!((sizes.unsent, sizes.timeouts, sizes.parked), (0, 1, 1));
}

/// A parked row stays parked until it is added again, moved, or goes. (G7)
pub async fn when_a_parked_row_changes_it_stays_parked(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().add(timeout("t-1", at(0), at(9))).park("t-1", "why"))
        .await;
    subject.commit(Unit::new().alarm_sent("t-1", 1, at(2))).await;
    subject.commit(Unit::new().defer("t-1", at(3))).await;
    subject.commit(Unit::new().park("t-1", "another reason")).await;
    let row = subject.present_row("t-1").await;
    assert_eq!(
        (row.parked.as_deref(), row.token, row.attention),
        (Some("another reason"), 1, at(3))
    );
    assert_eq!(subject.claim(Timestamp::MAX).await, Vec::<String>::new());
    subject
        .commit(Unit::new().add(PendingRow { parked: None, ..row }))
        .await;
    assert_eq!(subject.claim(at(4)).await, ["t-1"]);
    subject
        .commit(Unit::new().park("t-1", "why").fire("t-1", 1))
        .await;
    assert_eq!(subject.sizes().await.parked, 0);
}

/// A timeout that was set aside and is moved rings at its new time: else nothing would ever fire it. (G6)
pub async fn when_a_parked_timeout_is_moved_it_rings_again(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().add(timeout("t-1", at(0), at(9))).park("t-1", "why"))
        .await;
    subject.commit(Unit::new().move_to("t-1", at(20), at(4))).await;
    let row = subject.present_row("t-1").await;
    assert_eq!((row.parked, row.token, row.due), (None, 2, Some(at(20))));
    let sizes = subject.sizes().await;
    assert_eq!((sizes.timeouts, sizes.parked), (1, 0));
    assert_eq!(subject.claim(at(4)).await, ["t-1"]);
}

/// The changes of one unit take effect in order, each on what those before it left.
pub async fn when_one_unit_changes_a_row_several_times_each_change_counts(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let added = || Unit::new().add(timeout("t-1", at(0), at(60)));
    subject
        .conflicts(added().move_to("t-1", at(70), at(0)).fire("t-1", 1))
        .await;
    subject
        .commit(
            added()
                .move_to("t-1", at(70), at(0))
                .alarm_sent("t-1", 2, at(75))
                .fire("t-1", 2),
        )
        .await;
    assert_eq!(subject.row("t-1").await, None);
    subject.commit(added().cancel("t-1")).await;
    assert_eq!(subject.row("t-1").await, None);
    subject
        .conflicts(added().cancel("t-1").move_to("t-1", at(70), at(0)))
        .await;
    subject
        .commit(
            Unit::new()
                .cancel("t-1")
                .add(timeout("t-1", at(7), at(60)))
                .defer("t-1", at(8)),
        )
        .await;
    assert_eq!(subject.present_row("t-1").await.attention, at(8));
    assert_eq!(subject.claim(at(7)).await, Vec::<String>::new());
}

/// Rows that use everything a row has.
fn rows() -> Vec<PendingRow> {
    let mut large = message("r-large", at(1));
    large.envelope.body = Bytes::from(vec![7; 65_536]);
    let mut bare = message("r-bare", at(1));
    bare.envelope.headers.retain(|_| false);
    bare.envelope.body = Bytes::new();
    let mut event = message("r-event", at(2));
    event.to = Destination::Subscribers("sales.order_placed.v1".to_owned());
    let mut delayed = message("r-delayed", Timestamp::MIN);
    delayed.due = Some(Timestamp::MAX);
    delayed.envelope.headers.set("empty", "");
    let mut foreign = message("r-foreign", at(3));
    foreign.envelope.id = super::sample::id("another id than that of the row");
    let mut owned = timeout("t-owned", at(0), at(60));
    owned.owner = Some(RecordKey::new("odd \0 collection", "\u{1f69a}"));
    owned.name = "a name\nin two lines".to_owned();
    owned.token = u64::from(u32::MAX) + 1;
    owned.alarm_sent = true;
    let mut parked = timeout("t-parked", at(0), at(60));
    parked.parked = Some(String::new());
    let mut ownerless = timeout("t-ownerless", Timestamp::MAX, at(60));
    ownerless.owner = None;
    ownerless.to = Destination::Queue(address("a.b"));
    vec![large, bare, event, delayed, foreign, owned, parked, ownerless]
}
