//! Rules about what failed.

use std::collections::{HashMap, HashSet};

use longhaul_core::headers;
use longhaul_core::store::InboxState;

use super::Finding;
use crate::trace::{Trace, What};

/// What a message in the error queue says about its failure.
pub(super) const REASONS: [&str; 9] = [
    headers::ERROR_REASON,
    headers::ERROR_TEXT,
    headers::ERROR_CLASS,
    headers::ERROR_ENDPOINT,
    headers::ERROR_SOURCE,
    headers::ERROR_ATTEMPTS,
    headers::ERROR_FIRST,
    headers::ERROR_LAST,
    headers::ERROR_HOST,
];

/// A message in the error queue has the body that it came with, and all the reasons.
pub(super) fn complete(trace: &Trace) -> Finding {
    let mut bodies = HashMap::new();
    let mut given_up = HashSet::new();
    for event in &trace.events {
        match &event.what {
            What::Taken { envelope, .. } => {
                bodies.entry(&envelope.id).or_insert(&envelope.body);
            }
            What::DeliveredTooOften { envelope, .. } => {
                given_up.insert(&envelope.id);
            }
            _ => {}
        }
    }
    for envelope in &trace.failed {
        // The broker adds no reasons.
        let is_given_up =
            given_up.contains(&envelope.id) && envelope.headers.get(headers::ERROR_SOURCE).is_none();
        if !is_given_up
            && let Some(name) = REASONS
                .into_iter()
                .find(|name| envelope.headers.get(name).is_none())
        {
            return Err(format!("{} is in the error queue without {name}", envelope.id));
        }
        if bodies
            .get(&envelope.id)
            .is_some_and(|body| **body != envelope.body)
        {
            return Err(format!("{} is in the error queue with another body", envelope.id));
        }
    }
    Ok(())
}

/// Each delayed attempt is a later generation with no fewer attempts behind it.
pub(super) fn counted(trace: &Trace) -> Finding {
    let mut counts = HashMap::new();
    for unit in trace.lasting() {
        for change in &unit.work.inbox {
            if let Some(InboxState::Failed { .. }) = change.next {
                // A replay begins anew.
                counts.remove(&(unit.endpoint, &change.id));
            }
            let Some(InboxState::Scheduled {
                generation, attempts, ..
            }) = change.next
            else {
                continue;
            };
            let before = counts.insert((unit.endpoint, &change.id), (generation, attempts));
            let (rounds, tried) = before.unwrap_or((0, 0));
            // A mark that is taken back restores what was there before it.
            let is_restored = matches!(change.expected, Some(InboxState::Started { .. }));
            let is_next = generation > rounds || (is_restored && generation == rounds);
            if !is_next || attempts < tried {
                return Err(format!(
                    "{} of {} had {rounds} rounds and {tried} attempts behind it, and then {generation} and {attempts}",
                    change.id, unit.endpoint
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use longhaul_core::store::InboxChange;

    use crate::checks::story::{START, Story, message, scheduled, unit};

    #[test]
    fn when_a_failed_message_lacks_a_reason_or_has_another_body_it_is_found() {
        let failed = |change: fn(&mut longhaul_core::envelope::Envelope)| {
            let mut envelope = message("m");
            REASONS
                .into_iter()
                .for_each(|name| envelope.headers.set(name, "x"));
            change(&mut envelope);
            let mut trace = Story::new().taken(message("m")).trace();
            trace.failed.push(Arc::new(envelope));
            trace
        };
        assert_eq!(complete(&failed(|_| {})), Ok(()));
        assert!(
            complete(&failed(|envelope| drop(
                envelope.headers.remove(headers::ERROR_HOST)
            )))
            .is_err()
        );
        assert!(complete(&failed(|envelope| envelope.body = "{}".into())).is_err());
        let given_up = Story::new().taken(message("n")).given_up("sales", message("n"));
        let with = |failed: &[longhaul_core::envelope::Envelope]| {
            let mut trace = given_up.clone().trace();
            trace.failed.extend(failed.iter().cloned().map(Arc::new));
            complete(&trace)
        };
        assert_eq!(with(&[message("n")]), Ok(()), "the broker gave it up");
        assert!(
            with(&[message("n"), message("m")]).is_err(),
            "nobody gave that up"
        );
        let mut other = message("n");
        other.body = "{}".into();
        assert!(with(&[other]).is_err());
    }

    #[test]
    fn when_the_attempts_begin_anew_it_is_found_unless_the_commit_was_lost() {
        let again = Story::new()
            .commit(unit([scheduled("m", 1, 6)], [], []), 0)
            .commit(unit([scheduled("m", 1, 6)], [], []), 1);
        assert!(counted(&again.trace()).is_err());
        let never = Story::new().commit(unit([scheduled("m", 0, 0)], [], []), 0);
        assert!(counted(&never.trace()).is_err());
        let lost = Story::new()
            .commit(unit([scheduled("m", 1, 6)], [], []), 0)
            .lose(0)
            .commit(unit([scheduled("m", 1, 6)], [], []), 0);
        assert_eq!(counted(&lost.trace()), Ok(()));
    }

    #[test]
    fn when_a_mark_is_taken_back_what_was_there_before_it_is_there_again() {
        let taken_back = |attempts| {
            let back = InboxChange {
                expected: Some(InboxState::Started {
                    generation: 1,
                    attempts: 6,
                    times: 1,
                    since: START,
                }),
                ..scheduled("m", 1, attempts)
            };
            Story::new()
                .commit(unit([scheduled("m", 1, 6)], [], []), 0)
                .commit(unit([back], [], []), 1)
                .trace()
        };
        assert_eq!(counted(&taken_back(6)), Ok(()));
        assert!(counted(&taken_back(5)).is_err());
    }
}
