//! What an endpoint knows of messages.

use longhaul_core::clock::Timestamp;
use longhaul_core::store::InboxState;

use super::fixture::StoreFixture;
use super::sample::{Unit, at};
use super::subject::Subject;

const SCHEDULED: InboxState = InboxState::Scheduled {
    generation: 3,
    attempts: 2,
    since: Timestamp::from_micros(1),
};

/// Nothing is known of a message, a record or a row that was never written. (G2)
pub async fn when_a_store_is_new_it_knows_nothing(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    assert_eq!(subject.inbox("m-1").await, None);
    assert_eq!(subject.record("7").await, None);
    assert_eq!(subject.row("r-1").await, None);
    assert_eq!(subject.claim(at(0)).await, Vec::<String>::new());
}

/// What is known of a message after a commit is what the unit said. (G2)
pub async fn when_a_message_is_handled_it_is_known_as_done(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.commit(Unit::new().done("m-1")).await;
    assert_eq!(subject.inbox("m-1").await, Some(InboxState::Done));
    assert_eq!(subject.inbox("m-2").await, None);
}

/// A message commits at most once: the second unit that expects it to be unknown conflicts. (G2)
pub async fn when_a_message_is_handled_twice_the_second_conflicts(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject.commit(Unit::new().done("m-1")).await;
    subject.conflicts(Unit::new().done("m-1")).await;
}

/// Every state keeps all its numbers and times. (G2, G7)
pub async fn when_a_state_is_written_it_reads_back_as_it_was(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    for (number, state) in states().into_iter().enumerate() {
        let name = format!("m-{number}");
        subject
            .commit(Unit::new().inbox(&name, None, Some(state), at(0)))
            .await;
        assert_eq!(subject.inbox(&name).await, Some(state));
    }
}

/// The state that is expected must be the state that is stored, in every part of it. (G2, G7)
pub async fn when_the_expected_state_differs_in_anything_the_unit_conflicts(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    for (number, stored) in states().into_iter().enumerate() {
        let name = format!("m-{number}");
        subject
            .conflicts(Unit::new().inbox(&name, Some(stored), None, at(0)))
            .await;
        subject
            .commit(Unit::new().inbox(&name, None, Some(stored), at(0)))
            .await;
        for other in states().into_iter().filter(|other| *other != stored) {
            let next = Some(InboxState::Done);
            subject
                .conflicts(Unit::new().inbox(&name, Some(other), next, at(1)))
                .await;
        }
        subject
            .conflicts(Unit::new().inbox(&name, None, Some(InboxState::Done), at(1)))
            .await;
        assert_eq!(subject.inbox(&name).await, Some(stored));
        let next = InboxState::Failed { attempts: 9 };
        subject
            .commit(Unit::new().inbox(&name, Some(stored), Some(next), at(1)))
            .await;
        assert_eq!(subject.inbox(&name).await, Some(next));
    }
}

/// A message whose next state is none is forgotten, and may begin anew. (G7)
pub async fn when_a_message_is_forgotten_it_is_unknown(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().inbox("m-1", None, Some(SCHEDULED), at(0)))
        .await;
    subject
        .commit(Unit::new().inbox("m-1", Some(SCHEDULED), None, at(1)))
        .await;
    assert_eq!(subject.inbox("m-1").await, None);
    subject.commit(Unit::new().done("m-1")).await;
    assert_eq!(subject.inbox("m-1").await, Some(InboxState::Done));
}

/// A unit may expect a message to be unknown and leave it so. (G2)
pub async fn when_a_unit_only_expects_it_changes_nothing(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    subject
        .commit(Unit::new().inbox("m-1", None, None, at(0)).put("7", None, "a"))
        .await;
    assert_eq!(subject.inbox("m-1").await, None);
    let done = Some(InboxState::Done);
    subject
        .commit(Unit::new().done("m-1").put("7", Some(1), "b"))
        .await;
    subject
        .commit(Unit::new().inbox("m-1", done, done, at(0)).put("7", Some(2), "c"))
        .await;
    subject
        .conflicts(Unit::new().inbox("m-1", None, None, at(0)).put("7", Some(3), "d"))
        .await;
    assert_eq!(subject.version("7").await, Some(3));
}

/// One unit may change what is known of several messages, and of one message twice. (G2)
pub async fn when_one_unit_changes_several_messages_all_are_changed(fixture: &dyn StoreFixture) {
    let subject = Subject::new(fixture).await;
    let done = Some(InboxState::Done);
    let unit = Unit::new()
        .done("m-1")
        .inbox("m-2", None, Some(SCHEDULED), at(0))
        .inbox("m-2", Some(SCHEDULED), done, at(1));
    subject.commit(unit).await;
    assert_eq!(subject.inbox("m-1").await, done);
    assert_eq!(subject.inbox("m-2").await, done);
}

/// Two different states of every kind, with the largest and smallest parts.
fn states() -> Vec<InboxState> {
    let mut states = vec![
        InboxState::Done,
        InboxState::Failed { attempts: 0 },
        InboxState::Failed { attempts: u32::MAX },
    ];
    let since = [
        Timestamp::MIN,
        at(0),
        at(0) + std::time::Duration::from_micros(1),
        Timestamp::MAX,
    ];
    for (generation, attempts) in [(0, 0), (1, 0), (0, 1), (u32::MAX, u32::MAX)] {
        for since in since {
            states.push(InboxState::Scheduled {
                generation,
                attempts,
                since,
            });
            states.push(InboxState::Started {
                generation,
                attempts,
                times: attempts,
                since,
            });
        }
    }
    states
}
