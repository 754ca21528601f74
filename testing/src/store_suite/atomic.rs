//! All of a unit, or nothing.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use longhaul_core::store::{InboxState, RecordKey, Sizes, StoreErrorKind};

use super::fixture::StoreFixture;
use super::sample::{Unit, at, message, timeout};
use super::subject::{Subject, asking};

/// Everything in a unit is committed together. (G1, G2)
pub async fn when_a_unit_is_committed_all_of_it_is_there(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.commit(everything("1")).await;
    assert!(is_whole(&subject, "1").await);
}

/// An empty unit is fine.
pub async fn when_a_unit_is_empty_it_is_committed(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.commit(Unit::new()).await;
    assert_eq!(subject.sizes().await, Sizes::default());
}

/// One expectation that does not hold, wherever it stands in the unit, and nothing of the unit is there. (G2, G4)
pub async fn when_one_expectation_does_not_hold_nothing_of_the_unit_is_there(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let unit = Unit::new()
        .done("known")
        .put("known", None, "a")
        .add(timeout("known", at(0), at(60)));
    subject.commit(unit).await;
    let before = subject.sizes().await;
    let failed = Some(InboxState::Failed { attempts: 1 });
    let wrong: [fn(Unit) -> Unit; 9] = [
        |unit| unit.done("known"),
        |unit| unit.inbox("unknown", Some(InboxState::Done), None, at(0)),
        |unit| unit.put("known", None, "b"),
        |unit| unit.put("known", Some(2), "b"),
        |unit| unit.put("unknown", Some(1), "b"),
        |unit| unit.delete("known", 2),
        |unit| unit.fire("known", 2),
        |unit| unit.fire("unknown", 1),
        |unit| unit.move_to("unknown", at(9), at(9)),
    ];
    for wrong in wrong {
        for unit in [wrong(everything("1")), everything_after(wrong(Unit::new()), "1")] {
            let unit = unit
                .inbox("known", Some(InboxState::Done), failed, at(1))
                .sent("known")
                .defer("known", at(9));
            subject.conflicts(unit).await;
            assert!(is_absent(&subject, "1").await);
            assert_eq!(subject.inbox("known").await, Some(InboxState::Done));
            assert_eq!(subject.version("known").await, Some(1));
            assert_eq!(subject.present_row("known").await.attention, at(0));
            assert_eq!(subject.sizes().await, before);
        }
    }
    subject.commit(everything("1")).await;
}

/// A unit that is refused leaves nothing behind either.
pub async fn when_a_unit_is_refused_nothing_of_it_is_there(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let long = "x".repeat(RecordKey::MAX_ID_BYTES + 1);
    subject
        .refuses(StoreErrorKind::Refused, everything("1").put(long, None, "a"))
        .await;
    assert!(is_absent(&subject, "1").await);
    assert_eq!(subject.sizes().await, Sizes::default());
}

/// A unit may hold hundreds of changes.
pub async fn when_a_unit_is_large_all_of_it_is_there(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let unit = (0..300).fold(Unit::new(), |unit, number| {
        let name = number.to_string();
        unit.done(&name)
            .put(&name, None, vec![7; 1_000])
            .add(message(&name, at(number)))
    });
    subject.commit(unit).await;
    let sizes = subject.sizes().await;
    assert_eq!((sizes.inbox, sizes.records, sizes.unsent), (300, 300, 300));
    assert_eq!(subject.claim(at(299)).await.len(), 300);
}

/// A commit whose future is dropped has happened as a whole or not at all, and the inbox tells which. The store
/// goes on either way. (G1, G2)
pub async fn when_a_commit_is_given_up_all_or_nothing_of_it_is_there(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let mut committed = 0;
    for number in 0..40 {
        let name = number.to_string();
        begin_and_drop(subject.store.commit(everything(&name).0), number % 4);
        // Units take effect in order: once this one has, the one before it has or never will.
        subject
            .commit(Unit::new().put("barrier", (number > 0).then_some(number), "a"))
            .await;
        if is_whole(&subject, &name).await {
            committed += 1;
            subject.conflicts(everything(&name)).await;
        } else {
            assert!(is_absent(&subject, &name).await, "unit {number} is there in part");
            subject.commit(everything(&name)).await;
            assert!(is_whole(&subject, &name).await);
        }
    }
    let sizes = subject.sizes().await;
    let expected = (40, 41, 40, 40);
    assert_eq!(
        (sizes.inbox, sizes.records, sizes.unsent, sizes.timeouts),
        expected,
        "{committed} were committed"
    );
}

/// A commit whose future was never polled has not begun.
pub async fn when_a_commit_is_never_begun_nothing_of_it_is_there(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    drop(subject.store.commit(everything("1").0));
    subject.commit(Unit::new().put("barrier", None, "a")).await;
    assert!(is_absent(&subject, "1").await);
}

/// What is loaded while units are committed is never half of one. (G4)
pub async fn when_units_are_committed_meanwhile_what_is_loaded_is_of_one_moment(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let writer = async {
        for version in 0..60_u64 {
            let expected = (version > 0).then_some(version);
            let body = version.to_string();
            subject
                .commit(
                    Unit::new()
                        .put("a", expected, body.clone())
                        .put("b", expected, body),
                )
                .await;
        }
    };
    let reader = async {
        let mut request = asking(super::sample::id("m-1"));
        request.records = ["a", "b", "a"].map(super::sample::key).to_vec();
        let mut last = None;
        while last != Some(60) {
            let records = subject.load(&request).await.records;
            let versions: Vec<_> = records
                .iter()
                .map(|record| record.as_ref().map(|record| record.version))
                .collect();
            assert!(
                versions.iter().all(|version| *version == versions[0]),
                "{versions:?}"
            );
            assert!(versions[0] >= last, "what was seen once stays seen");
            last = versions[0];
            yield_once().await;
        }
    };
    futures_util::future::join(writer, reader).await;
}

/// A unit with one of everything, all of it named alike.
fn everything(name: &str) -> Unit {
    everything_after(Unit::new(), name)
}

fn everything_after(unit: Unit, name: &str) -> Unit {
    unit.done(name)
        .put(name, None, "a")
        .add(message(format!("r-{name}"), at(0)))
        .add(timeout(format!("t-{name}"), at(0), at(60)))
}

async fn parts(subject: &Subject, name: &str) -> [bool; 5] {
    let (row, timeout) = (format!("r-{name}"), format!("t-{name}"));
    let listed = subject.listed().await;
    [
        subject.inbox(name).await.is_some(),
        subject.record(name).await.is_some(),
        subject.row(&row).await.is_some(),
        subject.row(&timeout).await.is_some(),
        listed.iter().any(|row| row.id.as_str() == timeout),
    ]
}

async fn is_whole(subject: &Subject, name: &str) -> bool {
    parts(subject, name).await == [true; 5]
}

async fn is_absent(subject: &Subject, name: &str) -> bool {
    parts(subject, name).await == [false; 5]
}

/// Polls a future up to so many times, whoever it wants to wake, and drops it.
fn begin_and_drop(future: impl Future, polls: u64) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if future.as_mut().poll(&mut context).is_ready() {
            return;
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
